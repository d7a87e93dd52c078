"""A canary under way: its share of the requests, who looks after it, and what is known of it meanwhile."""
