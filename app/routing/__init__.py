"""Where a request goes: the active version by the state file, claims on it, circuits, and the failover."""
