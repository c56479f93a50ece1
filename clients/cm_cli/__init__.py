"""The command line `cm`: a thin client of the campaign-management daemon."""
