"""What the router says itself, and how that is sent."""
