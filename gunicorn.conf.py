"""gunicorn's settings, taken from the router's: `gunicorn -c gunicorn.conf.py app:wsgi` is all that is needed.

Nothing here imports requests or gevent: the master must stay free of both, because the workers patch the
standard library after the fork, and what was imported before would keep its blocking sockets.
"""

import gc
import os
import sys
from logging import Formatter
from pathlib import Path

# gunicorn has put the working directory first on the path, and does so again if it is not there. It may be the
# user's, with an `app` or a `requests.py` in it, so it goes last, and our own comes first.
sys.path.append(os.getcwd())
sys.path.remove(os.getcwd())
sys.path.insert(0, str(Path(__file__).resolve().parent))

import app
import app.compiled
from app.metrics.layout import slots_for
from app.metrics.shared import SharedMetrics
from app.operator_errors import ConfigError
from app.settings.toml_file import check_libraries, load_settings

try:
    _loaded = check_libraries(load_settings())
except ConfigError as error:
    sys.stderr.write(f"error: {error}\n")
    raise SystemExit(error.exit_code) from None
_config = _loaded.config
# The workers inherit it; what becomes of the files later is for the next reload.
app.loaded_settings = _loaded

# --- sockets ---------------------------------------------------------------------------------------------------

bind = _config.listens_at
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
# RouterWorker asks for its own replacement when it has served so many; a stock worker just ends.
max_requests = _config.max_requests
max_requests_jitter = _config.max_requests // 10
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
proc_name = f"traffic-router {_config.name}".rstrip()
# All gunicorns of a user share the default control socket and unlink what is there.
control_socket_disable = True
# The heartbeat files of the workers: in memory where possible, so that a busy disk cannot make a worker look hung.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# --- hooks -----------------------------------------------------------------------------------------------------


def on_starting(server):
    """The directory for state, metrics and logs, which nobody else may write to; and a master that is careful."""
    # Imported here: gunicorn's arbiter imports ssl, and this file is also read where nothing is served.
    from app.server.master import RouterArbiter
    from app.server.pid_file import PidFile

    if form := _log_form(server.log.datefmt):
        for handler in server.log.error_log.handlers:
            handler.setFormatter(form)
    try:
        Path(_config.state_file).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        server.log.error("%s cannot be made: %s", error.filename, error.strerror)
    pid_file = PidFile(Path(_config.pid_path), _config.main_port, ", ".join(bind))
    RouterArbiter.adopt(server, pid_file, _config.state_file)
    _share_metrics(server)


def _log_form(date_form):
    """How log lines are written, where not as gunicorn does."""
    if _config.log_format == "json":
        from app.json_log import JsonFormatter

        return JsonFormatter(_config.name)
    if _config.name:
        name = _config.name.replace("%", "%%")
        return Formatter(f"%(asctime)s [%(process)d] [%(levelname)s] {name}: %(message)s", date_form)
    return None


def _share_metrics(server):
    """Makes what the workers count in, so that they share it even where it cannot be in a file."""
    before = getattr(server, "shared_metrics", None)
    slots = slots_for(server.cfg.workers)
    server.shared_metrics = app.shared_metrics = SharedMetrics.create_or_attach(
        _config.metrics_path, slots, before=before and before.mapped
    )
    if before is not None:
        before.close()


def when_ready(server):
    """Says who the router is."""
    server.ready()
    if not server.master_pid:  # one that replaces another says so when it does
        server.note("started", f"The router listens at {', '.join(bind)}.")


def on_reload(server):
    """The state file, and what lies beside it, may have moved; the workers to come may be more."""
    server.move_files(Path(_config.pid_path), _config.state_file)
    _share_metrics(server)


def post_fork(server, worker):
    """Makes a worker that does not serve yet end when it is told to; and it shall know what its siblings know."""
    server.reset_signals()
    app.compiled.take(os.environ)
    worker.last_good = server.last_good


def pre_exec(server):
    """Makes a new master that is not executed yet end when it is told to."""
    server.reset_signals()


def post_worker_init(worker):
    """Starts the worker's heartbeat and, in one of them, the health checks."""
    worker.wsgi.service.router.state.share(worker.last_good)
    worker.wsgi.start()
    # What has been built stays until the worker's end. A full collection, as many new connections bring it about,
    # takes 50 ms and more, in which nobody is served, to look through it all.
    gc.freeze()


def on_exit(server):
    """Takes the pid file away, unless another router has put its own there."""
    server.pid_file.remove()
