"""The router with other people's servers behind it and clients in front of it; `make peers` runs them.

What they need from PyPI is the group `peers` of pyproject.toml, in `.venv-peers`. It is run as processes of its own:
nothing here imports it.
"""
