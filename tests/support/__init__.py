"""Stand-ins and tools for tests: a raw upstream, a raw client and a real router process.

Nothing here imports `app`: what a test expects comes from the RFCs, never from the code it judges.
"""
