"""Many machines as one: what stands in the fleet's store, what follows from it, and who carries it out."""
