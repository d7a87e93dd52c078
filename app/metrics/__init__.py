"""What happened to every request, counted exactly over all workers in one shared file.

Pure here (L0): the byte map (`layout`), the latency buckets (`histogram`), the values a reader gets
(`snapshot`) and their JSON form (`exposition`). Adapters (L1): the file and its locks, the one writer per
worker (`slot`), the leader's rings (`leader`), the reader (`reader`), and what ties them together
(`shared`, `collector`, `prometheus`). Nothing here knows HTTP, the state file's contents, or how a request
is forwarded.
"""
