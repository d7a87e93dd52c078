"""The soak: real commands do everything that can happen to a deployment while client processes ask without pause.

`python -m tests.soak` (or `make soak`) ends with the books: what the clients saw, what the application executed, what
the router logged and counted, and what the receipts say must be one story.
"""
