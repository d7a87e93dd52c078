"""Towards a version: connections, exchanges and health, over real loopback sockets."""
