"""gunicorn's settings, taken from the router's: `gunicorn -c gunicorn.conf.py app:wsgi` is all that is needed.

Nothing here imports requests or gevent: the master must stay free of both, because the workers patch the
standard library after the fork, and what was imported before would keep its blocking sockets.
"""

import json
import os
import sys
from pathlib import Path

import psutil

from app.config import TOML_NAME, load
from app.errors import ConfigError
from app.settings_file import read_toml

try:
    _loaded = load({}, os.environ, read_toml(Path(TOML_NAME)))
except ConfigError as error:
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None
_config = _loaded.config

# --- sockets ---------------------------------------------------------------------------------------------------

_host = f"[{_config.bind}]" if ":" in _config.bind else _config.bind
bind = [f"{_host}:{_config.main_port}"]
# Connections that wait to be accepted while all workers are busy or the router restarts; the kernel caps it
# at net.core.somaxconn.
backlog = 2048
# One listening socket for all workers: with SO_REUSEPORT each would have its own queue, and a worker that ends
# would take the connections in its queue with it.
reuse_port = False

# --- workers ---------------------------------------------------------------------------------------------------

workers = _config.workers or len(os.sched_getaffinity(0))
worker_class = "app.server.worker.RouterWorker"
worker_connections = _config.max_connections
# The application is built in each worker, after gevent has patched.
preload_app = False
# A worker whose loop stands still this long is killed and replaced. It is not a limit on requests.
timeout = 30
graceful_timeout = int(_config.graceful_timeout)
# Used by stock workers only; RouterWorker reads the router's settings.
keepalive = int(_config.keepalive_timeout)
limit_request_line = _config.max_request_line_bytes
limit_request_fields = _config.max_fields
limit_request_field_size = _config.max_head_bytes

# --- trust -----------------------------------------------------------------------------------------------------

# The peer's address is judged by `forwarded_hops` and `admin_allow`; gunicorn shall not rewrite anything.
forwarded_allow_ips = ""

# --- logs and files --------------------------------------------------------------------------------------------

loglevel = _config.log_level
errorlog = "-"
# The router writes its own access log (`access_log`), which knows versions and causes.
accesslog = None
proc_name = "traffic-router"
# All gunicorns of a user share the default control socket and unlink what is there.
control_socket_disable = True
# The heartbeat files of the workers: in memory where possible, so that a busy disk cannot make a worker look hung.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# --- hooks -----------------------------------------------------------------------------------------------------


def on_starting(server):
    """The directory for state, metrics and logs, which nobody else may write to."""
    Path(_config.state_file).parent.mkdir(mode=0o750, parents=True, exist_ok=True)


def when_ready(server):
    """Says who the router is; a pid counts only together with the time its process was created."""
    record = {"pid": os.getpid(), "port": _config.main_port, "create_time": psutil.Process().create_time()}
    draft = Path(f"{_config.pid_path}.{os.getpid()}")
    draft.write_text(json.dumps(record) + "\n")
    draft.replace(_config.pid_path)


def post_worker_init(worker):
    """Starts the worker's heartbeat and, in one of them, the health checks."""
    worker.wsgi.service.start()


def on_exit(server):
    """Takes the pid file away, unless another router has put its own there."""
    try:
        if json.loads(Path(_config.pid_path).read_text())["pid"] == os.getpid():
            Path(_config.pid_path).unlink()
    except (OSError, ValueError, KeyError):
        pass
