"""What the router writes into the heads that pass."""
