# The router and the versions of one application in one container: docs/how-to/run-in-a-container.md.
FROM python:3.12-slim

# A number that stays, for the files on the volume belong to it.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/traffic-router --shell /usr/sbin/nologin router
WORKDIR /opt/traffic-router

# Before the code, so that a change of that does not install them anew. All come built, but one that is plain Python:
# nothing here needs a compiler.
COPY requirements.lock ./
RUN python -m venv .venv && .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes --only-binary=:all: --no-binary=docopt -r requirements.lock

COPY LICENSE gunicorn.conf.py ./
COPY bin bin
COPY utils utils
COPY app app
# Now, since nothing can be written here later.
RUN .venv/bin/python -m compileall -q app utils

# All that is written later, but what goes to /tmp and /dev/shm: state, metrics, logs, pid files.
ENV TRAFFIC_ROUTER_HOME=/var/lib/traffic-router
RUN install -d -o router -g router -m 0750 /var/lib/traffic-router
VOLUME ["/var/lib/traffic-router"]
USER 10001:10001
EXPOSE 5004

# Python alone, for the image has no curl. A pause or a maintenance page is healthy: nobody should restart that.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["/opt/traffic-router/.venv/bin/python", "-m", "app.cli.container_health"]
# In the foreground; on SIGTERM the router ends its requests, and then every version is stopped that runs.
STOPSIGNAL SIGTERM
CMD ["/opt/traffic-router/.venv/bin/python", "-m", "app.cli.run", "--all"]
