"""Tests of the whole router from outside: a real gunicorn between raw sockets, and real peers."""
