"""What is done to a deployment in each incident, and what is done by hand to mend it.

Release r2 is active on green, r1 stands by on blue, r3 is there to be deployed. A function that gives a command's end
breaks what only that command meets.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the page is made where the drill's packages are not installed
    from tests.drill.scene import Done, Scene


def kill_active(scene: Scene) -> None:
    scene.kill("green")


def kill_restarted(scene: Scene) -> None:
    _restart_on_failure(scene)
    scene.kill("green")


def fail_in_a_row(scene: Scene) -> None:
    _restart_on_failure(scene, "restart_limit = 2", "restart_delay = 0.1")
    (scene.folder / "releases" / "r2" / "app.py").write_text("raise SystemExit('nothing to run')")
    scene.kill("green")


def kill_one_of_two(scene: Scene) -> None:
    done = scene.command("scale", "green", "2")
    assert done.code == 0, done.said
    os.kill(json.loads((scene.context / "green.2.process").read_text())["pid"], signal.SIGKILL)


def _restart_on_failure(scene: Scene, *more: str) -> None:
    """Green runs with restarts on, whatever was set at its start."""
    scene.settings("stop_timeout = 3", "\n".join(['restart = "on-failure"', *more, "stop_timeout = 3"]))
    done = scene.command("restart", "green")
    assert done.code == 0, done.said


def hang_active(scene: Scene) -> None:
    scene.kill("green", signal.SIGSTOP)


def fail_everything(scene: Scene) -> None:
    scene.does("r2", every={"status": 500})


def fail_one_path(scene: Scene) -> None:
    scene.does("r2", cart={"status": 500})


def kill_standby(scene: Scene) -> None:
    scene.kill("blue")


def kill_both(scene: Scene) -> None:
    scene.kill("blue")
    scene.kill("green")


def kill_router(scene: Scene) -> None:
    for process in scene.processes():
        if "gunicorn" in " ".join(process.cmdline()):
            process.kill()


def stop_router(scene: Scene) -> None:
    scene.router("stop")


def kill_worker(scene: Scene) -> None:
    assert scene.router_pid is not None
    os.kill(scene.workers()[0], signal.SIGKILL)


def lose_comma(scene: Scene) -> None:
    text = scene.state_file.read_text()
    scene.state_file.write_text(text.replace('"active_version": "green",', '"active_version": "green"'))


def delete_state(scene: Scene) -> None:
    scene.state_file.unlink()


def lose_last_good_too(scene: Scene) -> None:
    lose_comma(scene)
    scene.last_good.unlink()


def be_slow(scene: Scene) -> None:
    scene.does("r2", every={"delay_s": 3}, health={})


def put_other_ports(scene: Scene) -> None:
    text = scene.state_file.read_text()
    for number in text.split('"port": ')[1:]:
        port = number.split(",")[0].split("}")[0].strip()
        text = text.replace(port, str(int(port) + 1))
    scene.state_file.write_text(text)


def delete_both_states(scene: Scene) -> None:
    scene.state_file.unlink()
    scene.last_good.unlink()


def move_settings(scene: Scene) -> Done:
    scene.settings_file.rename(scene.elsewhere / "traffic_router.toml")
    return scene.command("deploy", "--release=r3")


def put_settings_back(scene: Scene) -> None:
    (scene.elsewhere / "traffic_router.toml").rename(scene.settings_file)


def ask_elsewhere(scene: Scene) -> Done:
    return scene.type(f"TRAFFIC_ROUTER_HOME={scene.elsewhere} python3 bin/blue_green_deploy status")


def crash_after_rollback(scene: Scene) -> None:
    """r3 was tried and rolled back, then r2 crashed."""
    scene.deploy("deploy", "--release=r3")
    scene.deploy("rollback")
    scene.kill("green")


def deploy_ill(path_says: dict[str, object]) -> Callable[[Scene], Done]:
    def breaks(scene: Scene) -> Done:
        scene.does("r3", every=path_says)
        return scene.command("deploy", "--release=r3")

    return breaks


def heal_r3(scene: Scene) -> None:
    scene.does("r3")


def fail_in_post(scene: Scene) -> Done:
    scene.settings("[release]", "[deploy]\npost = ['false']\n\n[release]")
    return scene.command("deploy", "--release=r3")


def mend_post(scene: Scene) -> None:
    scene.settings("'false'", "'true'")


def kill_deploy(scene: Scene) -> Done:
    scene.does("r3", every={"status": 503})
    deploy = scene.begin("blue_green_deploy", "deploy", "--release=r3")
    scene.wait_for_release("blue", "r3")
    deploy.kill()
    deploy.wait()
    scene.does("r3")
    return scene.command("deploy", "--release=r3")


def take_standby_port(scene: Scene) -> Done:
    scene.deploy("stop", "blue")
    scene.take_port("blue")
    return scene.command("deploy", "--release=r3")


def take_active_port(scene: Scene) -> None:
    scene.kill("green")
    scene.take_port("green")


def end_stranger(scene: Scene) -> None:
    for stranger in scene.strangers:
        stranger.kill()
        stranger.wait()


def lose_command(scene: Scene) -> Done:
    scene.settings("app.py {port}", "gone.py {port}")
    return scene.command("deploy", "--release=r3")


def find_command(scene: Scene) -> None:
    scene.settings("gone.py {port}", "app.py {port}")


def delete_standby_release(scene: Scene) -> Done:
    scene.deploy("stop", "blue")
    shutil.rmtree(scene.folder / "releases" / "r1")
    return scene.command("rollback")


def bring_r1_back(scene: Scene) -> None:
    scene.release("r1")


def block_log(scene: Scene) -> Done:
    log = scene.context / "logs" / "blue.log"
    scene.deploy("stop", "blue")
    log.unlink()
    log.mkdir()
    return scene.command("deploy", "--release=r3")


def unblock_log(scene: Scene) -> None:
    (scene.context / "logs" / "blue.log").rmdir()


def drain_for_ever(scene: Scene) -> Done:
    scene.does("r2", report={"drips": 120})
    scene.ask_and_leave("/report")
    return scene.command("switch", "blue", "--wait")


def hang_worker(scene: Scene) -> None:
    os.kill(scene.workers()[0], signal.SIGSTOP)


def kill_master(scene: Scene) -> None:
    assert scene.router_pid is not None
    os.kill(scene.router_pid, signal.SIGKILL)


def delete_pid_file(scene: Scene) -> None:
    (scene.context / "router.json").unlink()
    (scene.context / "router.pid").unlink(missing_ok=True)


def break_settings(scene: Scene) -> Done:
    scene.settings("read_timeout = 2", "read_timeout = soon")
    return scene.command("switch", "blue")


def mend_settings(scene: Scene) -> None:
    scene.settings("read_timeout = soon", "read_timeout = 2")


def hang_command(scene: Scene) -> Done:
    scene.does("r3", every={"status": 503})
    deploy = scene.begin("blue_green_deploy", "deploy", "--release=r3")
    scene.wait_for_release("blue", "r3")
    deploy.send_signal(signal.SIGSTOP)
    scene.strangers.append(deploy)
    return scene.command("switch", "blue")


def end_command(scene: Scene) -> None:
    end_stranger(scene)
    heal_r3(scene)


def fill_disk(scene: Scene) -> Done:
    scene.fill_disk()
    return scene.command("deploy", "--release=r3")


def clear_disk(scene: Scene) -> None:
    scene.clear_disk()


def forget_maintenance(scene: Scene) -> None:
    scene.deploy("maintenance", "on", "--message=Back at nine")


def leave_pause(scene: Scene) -> None:
    scene.deploy("pause", "--max-hold=600")
