"""HTTP/1.1 as rules: what bytes mean, what may pass an intermediary, what may be sent again.

Bytes and values in, values or an error from `app.errors` out. No socket, clock, gevent, requests or Flask
is known here; the tokenizer underneath is httptools (llhttp).
"""
