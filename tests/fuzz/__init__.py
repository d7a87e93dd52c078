"""Random bytes against everything that reads from a socket, and random conversations down both ways of a request.

`targets.py` says what must hold for any input, `mutations.py` makes inputs out of the corpus. `conversations.py` makes
those for `lane.py`, which compares the lane with the long way. `test_fuzz.py` is the short run of the test suite. The
long one: `python -m tests.fuzz --seconds 600`.
"""
