"""Which version is active, and what is known about each: the state file and everything that reads or writes
it.

`model` is pure (values and their JSON), `store` writes the file so that no reader ever sees half of it,
`watch` reads it on the way of every request. Nothing in here starts, stops or asks a version.
"""
