"""What the worker sends for the router's own pages."""
