"""What `init` finds and writes."""
