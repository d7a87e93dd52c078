"""The incident drill: a real deployment is broken in every way that happens at night, and mended by what is printed.

`incidents` is the table: what is broken, what must be seen, what is done. `places` asks all that speaks of the
deployment, `drilling` follows the printed advice until traffic flows again. `python -m tests.drill`, or `make drill`.
"""
