"""The way back: a response, an event stream or a tunnel, passed on as it comes."""
