"""One request's flight, its records and the router's own answers."""
