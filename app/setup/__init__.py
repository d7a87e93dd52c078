"""`traffic_router init`: which application lies in a directory, and the files that run it behind the router."""
