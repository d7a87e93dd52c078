"""How often, and how many at once: the limits of `[[limit]]`, counted over all workers."""
