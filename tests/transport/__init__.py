"""The endpoints over real loopback sockets."""
