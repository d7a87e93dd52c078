"""The request log: which requests get a line, how it is written, and the file that it goes into."""
