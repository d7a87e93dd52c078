"""One request through the proxy: claim a version, send, stream the answer back, release, record.

Bytes are moved here and decisions about a single request are made here. Which version is active, how a
socket works and what HTTP allows is known further down; Flask and gunicorn are further up.
"""
