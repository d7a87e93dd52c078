"""Random bytes against everything that reads from a socket.

`targets.py` says what must hold for any input, `mutations.py` makes inputs out of the corpus, `test_fuzz.py` is the
short run of the test suite. The long one: `python -m tests.fuzz --seconds 600`.
"""
