"""The obvious build of a reverse proxy in Flask: a view, a `requests.Session`, gunicorn's stock gevent worker.

Written as one would at first, and as well as one can within that: connections upstream are kept, bodies are
streamed, the environment is not searched for proxies. `ORIGIN_PORT` says where to.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402  # after the patch, as everything that may open a socket
from typing import Any  # noqa: E402

import requests  # noqa: E402
from flask import Flask, Response, request  # noqa: E402
from requests.adapters import HTTPAdapter  # noqa: E402

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
HOP_BY_HOP = {"connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-authorization"}
CHUNK_BYTES = 1 << 16

app = Flask(__name__)
session = requests.Session()
session.trust_env = False
session.mount("http://", HTTPAdapter(pool_maxsize=256))


def end_to_end(fields: Any) -> dict[str, str]:
    """The fields that a proxy passes on."""
    return {name: value for name, value in fields.items() if name.lower() not in HOP_BY_HOP}


@app.route("/", defaults={"path": ""}, methods=METHODS)
@app.route("/<path:path>", methods=METHODS)
def proxy(path: str) -> Response:
    """The catch-all view."""
    answer = session.request(
        request.method,
        f"http://127.0.0.1:{os.environ['ORIGIN_PORT']}/{path}",
        params=list(request.args.items(multi=True)),
        headers=end_to_end(request.headers) | {"X-Forwarded-For": request.remote_addr or ""},
        data=request.get_data(),
        stream=True,
        allow_redirects=False,
    )
    body = answer.raw.stream(CHUNK_BYTES, decode_content=False)
    return Response(body, answer.status_code, end_to_end(answer.headers))
