"""Towards a version: its session and connections, one HTTP/1.1 exchange, its health.

What happens on a socket comes out as one of `app.errors`. Which version a request goes to is decided above.
"""
