"""What every answer of the router itself has, whichever part of it answers."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from tests.integration.own_answers import OWN_ANSWER_SETTINGS, own_answers
from tests.support.raw_upstream import RawUpstream
from tests.support.router_process import RouterProcess

ROUTER_SETTINGS = OWN_ANSWER_SETTINGS


def test_every_own_answer_has_a_date_and_what_its_status_asks_for(
    router: RouterProcess, upstream: RawUpstream, subtests: pytest.Subtests
) -> None:
    seen = set()
    for name, _, answer in own_answers(router, upstream):
        seen.add(answer.status)
        with subtests.test(name):
            date = (answer.value(b"Date") or b"").decode()
            assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 5
            assert date.endswith(" GMT")
            assert (answer.value(b"Allow") is not None) == (answer.status == 405 or name.endswith("options"))
            assert (answer.value(b"WWW-Authenticate") is not None) == (answer.status == 401)
            assert answer.value(b"Cache-Control")
    assert seen == {200, 303, 400, 401, 403, 404, 405, 408, 413, 414, 429, 431, 502, 503, 504, 505}


def test_dates_go_on(router: RouterProcess, upstream: RawUpstream) -> None:
    request = b"GET / HTTP/1.1\r\n\r\n"
    first = router.ask(request).value(b"Date")
    time.sleep(1.1)
    assert router.ask(request).value(b"Date") != first
