"""Whether a version is well: the health gate before the traffic, the vigil and the comparison under it."""
