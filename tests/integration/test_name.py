"""`name` tells one deployment from another wherever one of them is looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess, free_port, running_router
from tests.support.waiting import wait_until

HOST = b" HTTP/1.1\r\nHost: x\r\n\r\n"


def page(router: RouterProcess) -> str:
    return router.ask(b"GET /monitoring" + HOST).body.decode()


def test_name_is_on_page_and_tab_in_log_health_and_metrics(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, name="shop 100 %") as router:
        shown = page(router)
        assert re.search(r"<title>.* · shop 100 %</title>", shown)
        assert re.search(r'class="brand">.*</svg>shop 100 %</p>', shown)
        assert json.loads(router.ask(b"GET /__router_health" + HOST).body)["name"] == "shop 100 %"
        figures = router.ask(b"GET /__router_metrics?format=prometheus" + HOST).body.decode()
        assert re.search(r'^traffic_router_build_info\{.*name="shop 100 %".*\} 1.0$', figures, re.MULTILINE)
        lines = [line for line in router.log.splitlines() if "Starting gunicorn" not in line]
        assert lines and all("shop 100 %: " in line for line in lines if re.match(r"\[\d{4}-", line))


def test_without_a_name_nothing_is_said_of_one(router: RouterProcess) -> None:
    assert re.search(r"<title>.* · Traffic Router</title>", page(router))
    assert "name" not in json.loads(router.ask(b"GET /__router_health" + HOST).body)


def test_log_for_programs_is_one_object_a_line(blue: RawUpstream, tmp_path: Path) -> None:
    with running_router(tmp_path, blue.port, log_format="json", name="shop", hold_timeout=0) as router:
        router.set_state("blue", blue=free_port())
        assert router.ask(b"GET /cart" + HOST).status == 502
        wait_until(lambda: "connect_refused" in router.log, "the line about it")
        lines = [json.loads(line) for line in router.log.splitlines() if "Starting gunicorn" not in line]
    assert {line["name"] for line in lines} == {"shop"}
    told = next(line for line in lines if "connect_refused" in line["message"])
    assert (told["level"], told["logger"]) == ("warning", "app.proxy.replies.local_reply")
    assert "(GET /cart from 127.0.0.1, blue)" in told["message"]
