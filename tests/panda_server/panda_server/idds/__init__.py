"""iDDS behind the relay: requests, their transforms, and the agents that may work on them."""
