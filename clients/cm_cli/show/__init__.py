"""What `cm` prints: tables, trees and progress, and the same as JSON."""
