"""What nobody configured is not even imported by a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import configured_router

NOTED = """
import os, sys
to = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(lambda event, about: event == "import" and os.write(to, about[0].encode() + b"\\n"))
"""
"""Has the master and its workers write down each module that they import."""

POLICY = """
[[limit]]
name = "all"
rate = "9/s"

[[login]]
name = "open"
login = "none"
"""

OF_POLICY = {
    *("app.limits.shared_limits", "app.limits.limits_file", "app.limits.rate_cells", "app.proxy.filters.limiting"),
    *("app.logins.logins", "app.logins.auth_server", "app.logins.gates", "app.proxy.filters.login"),
}
OF_TOKENS = {"jwt", "cryptography", "app.logins.verifier", "app.logins.keys"}


@pytest.mark.parametrize(("toml", "imported"), [("", set()), (POLICY, OF_POLICY)], ids=["nothing", "a limit, a login"])
def test_worker_imports_what_is_configured(
    toml: str, imported: set[str], tmp_path: Path, upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOTED.format(file=str(tmp_path / "imported")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TRAFFIC_ROUTER_PURE", "1")  # what is compiled comes as one library
    with configured_router(tmp_path, upstream.port, toml) as router:
        assert router.ask(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n").status == 200
        assert router.metrics()["total_requests"] == 1
    found = set((tmp_path / "imported").read_text().split())
    assert "app.server.lane" in found
    assert found & (OF_POLICY | OF_TOKENS) == imported
