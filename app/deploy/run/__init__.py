"""A command under way: the lock, its phases as actions, the configured hooks, and what a broken one has left."""
