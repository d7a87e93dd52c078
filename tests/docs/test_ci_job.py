"""The script of the guide for CI jobs, run as a job does; a program stands in for ssh and has a shell run the words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.layouts import BROKEN
from tests.deploy.shop import ROOT, Shop
from tests.docs.pages import blocks

GUIDE = ROOT / "docs" / "how-to" / "deploy-from-ci.md"

SSH = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
shift  # the server
[ ! -e "$HOME/broken" ] || exit 255
exec sh -c "$*"
"""

GIT = "#!/bin/sh\necho 1a2b3c4\n"

DATE = '#!/bin/sh\nn=$(($(cat "$HOME/count") + 1)); echo $n | tee "$HOME/count"\n'


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    (tmp_path / "programs").mkdir()
    for name, text in (("ssh", SSH), ("git", GIT), ("date", DATE)):
        (tmp_path / "programs" / name).write_text(text)
        (tmp_path / "programs" / name).chmod(0o755)
    (tmp_path / "count").write_text("0")
    (tmp_path / "releases").mkdir()
    (tmp_path / "build").mkdir()
    shop.configure(release=f'dir = "{tmp_path}/releases/{{release}}"')
    yield shop
    shop.close()


def job(shop: Shop, code: str) -> subprocess.CompletedProcess[str]:
    """Builds a release of that code and runs the guide's script."""
    (script,) = (block.text for block in blocks(GUIDE, "sh") if block.text.startswith("# deploy.sh"))
    script = script.replace("/opt/traffic-router", str(ROOT)).replace("/srv/shop", str(shop.home))
    script = script.replace("--watch=60", "--watch=1")
    (shop.home / "build" / "app.py").write_text(code)
    path = f"{shop.home / 'programs'}:{os.environ['PATH']}"
    environ = {**shop.environ, "PATH": path, "HOME": str(shop.home), "RUNNER_TRACKING_ID": "job-1"}
    return subprocess.run(["sh", "-c", script], cwd=shop.home, env=environ, capture_output=True, text=True, timeout=60)


def test_script_of_the_guide_ends_as_the_deploy_did_and_keeps_its_record(shop: Shop) -> None:
    for number in ("1", "2"):
        shop.code(shop.home / "build", number)
        done = job(shop, (shop.home / "build" / "app.py").read_text())
        assert done.returncode == 0, done
        assert shop.serving() == (f"{number}-1a2b3c4", number)
    assert "RUNNER_TRACKING_ID" not in shop.told("green")
    done = job(shop, BROKEN)
    assert done.returncode == 3, done
    assert json.loads((shop.home / "deploy.json").read_text())[0]["outcome"] == "unhealthy"
    assert shop.serving() == ("2-1a2b3c4", "2")


def test_release_that_is_not_whole_never_has_the_name_of_one(shop: Shop) -> None:
    (shop.home / "broken").touch()
    assert job(shop, BROKEN).returncode == 255
    (shop.home / "broken").unlink()
    (shop.home / "programs" / "tar").write_text('#!/bin/sh\n[ "$3" = -xf ] && exec /bin/tar "$@"\nprintf half\n')
    (shop.home / "programs" / "tar").chmod(0o755)
    assert job(shop, BROKEN).returncode != 0
    assert [path.suffix for path in (shop.home / "releases").iterdir()] == [".part"]
