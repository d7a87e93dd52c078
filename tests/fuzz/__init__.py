"""Random bytes against every parser that reads from a socket."""
