"""Sockets: one end of a TCP connection, its buffer, its waits and their deadlines.

Nothing here knows HTTP. The gevent flavour serves the workers; the blocking one serves plain Python.
"""
