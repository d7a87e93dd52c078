"""The HTTP/1.1 server that the workers run: accepting, reading requests, keeping connections.

What a request means and where it goes is decided by the application behind it.
"""
