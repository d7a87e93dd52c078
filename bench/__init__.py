"""Benchmarks that a user can run: the router beside other proxies, its memory, WebSockets, start and workers.

Everything runs on loopback, for a known time, and ends what it started. `README.md` explains the figures. The
router is a process like the others here; only what measures one of its functions imports `app`.
"""
