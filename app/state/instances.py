"""The processes of a version that are ours: their names, and where each of them listens.

The first is called as its version is, the others by their number: "blue", "blue.2", "blue.3".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.address import Address
from app.settings.tables.app_settings import AppConfig
from app.state.model import VersionState

__all__ = ["addresses_for", "all_of", "count_of", "name_in", "name_of", "number_of", "one_of", "recorded", "socket_of"]


def name_of(version: str, number: int) -> str:
    """What a version's process of that number, from 1, is called."""
    return version if number == 1 else f"{version}.{number}"


def number_of(name: str) -> tuple[str, int]:
    """The version, and the number of its process, that a name is of; the first where there is no number."""
    version, _, number = name.partition(".")
    return version, int(number) if number.isascii() and number.isdigit() else 1


def name_in(environ: Mapping[str, str]) -> str:
    """What a process is called that was started with this environment; "" for none of ours."""
    number = environ.get("BG_INSTANCE", "1")
    return name_of(environ.get("BG_VERSION", ""), int(number) if number.isascii() and number.isdigit() else 1)


def count_of(version: VersionState) -> int:
    """How many processes of ours a version has, at least one."""
    return max(1, len(version.instances))


def one_of(version: VersionState, number: int) -> VersionState:
    """One of a version's processes, as a version of one process; only the first has its pid in the state."""
    own = replace(version, name=name_of(version.name, number), instances=(), drained=())
    if number > 1:
        own = replace(own, pid=None, pid_birth=None)
    address = _address(version, number)
    return own if address is None or address.is_unix else replace(own, port=address.port)


def socket_of(version: VersionState, number: int) -> str:
    """The path of the socket on which a version's process of that number listens; "" for one on a port."""
    address = _address(version, number)
    return address.host if address is not None and address.is_unix else ""


def _address(version: VersionState, number: int) -> Address | None:
    return Address.parse(version.instances[number - 1]) if number <= len(version.instances) else None


def all_of(version: VersionState) -> tuple[VersionState, ...]:
    """Each of a version's processes."""
    return tuple(one_of(version, number) for number in range(1, count_of(version) + 1))


def addresses_for(version: VersionState, count: int, app: AppConfig, folder: str) -> tuple[Address, ...]:
    """Where `count` processes of a version are to listen, as it is set; `folder` is the state file's.

    Raises ValueError for the path of a socket that is too long.
    """
    numbers = range(1, count + 1)
    if app.bind == "unix":
        return tuple(Address.parse(f"unix:{folder}/run/{version.name}.{number}.sock") for number in numbers)
    return tuple(Address(app.address, version.port + (number - 1) * app.instance_port_step) for number in numbers)


def recorded(addresses: tuple[Address, ...]) -> tuple[str, ...]:
    """These addresses as the state file has them: nothing for a single process on the version's port."""
    return () if len(addresses) == 1 and not addresses[0].is_unix else tuple(map(str, addresses))
