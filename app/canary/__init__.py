"""Whether a release that has a share of the traffic may have more: the evidence, and what follows from it."""
