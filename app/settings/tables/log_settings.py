"""The settings of the request log: how its lines are written, which there are, and what is masked in them."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings import checks
from app.settings.engine import Rule, enforce, setting

__all__ = ["LOG_RULES", "LogConfig"]

_TEXTS = ("combined", "common")

LOG_RULES = (
    Rule(
        ("access_log_format", "access_log_fields"),
        lambda form, fields: form == "json" or not fields,
        "only the lines of json have fields to choose from",
    ),
    *(
        Rule(
            ("access_log_format", name),
            lambda form, fields: form not in _TEXTS or not fields,
            "the lines of combined and common have no room for further header fields",
        )
        for name in ("access_log_headers", "access_log_response_headers")
    ),
)


@dataclass(frozen=True)
class LogConfig:
    """What is about the lines of `access_log`; raises `ConfigError` with every fault when made."""

    access_log_format: str = setting(
        "json",
        "How the lines are written: as json, in the Elastic Common Schema (ecs), or as web servers do (combined,"
        " common).",
        rule="one of json, ecs, combined, common",
        check=checks.is_access_log_format,
    )
    access_log_fields: tuple[str, ...] = setting(
        (),
        "The members of a json line, in their order.",
        zero="the usual ones",
        rule="a list of the access log's members",
        check=checks.is_access_log_field,
    )
    access_log_headers: tuple[str, ...] = setting(
        (),
        "Header fields of the request to put into json and ecs lines.",
        zero="none",
        rule="a list of names of header fields",
        check=checks.is_field_name,
    )
    access_log_response_headers: tuple[str, ...] = setting(
        (),
        "The same of the application's answer.",
        zero="none",
        rule="a list of names of header fields",
        check=checks.is_field_name,
    )
    access_log_redact: tuple[str, ...] = setting(
        (),
        "Further names of header fields and of parameters in addresses whose values are masked in each line.",
        zero="those that are named like secrets, in any case",
        rule="a list of names",
        check=checks.is_field_name,
    )
    access_log_sample: float = setting(
        1.0, "The share of requests that get a line, by chance; each failed one does.", low=0, high=1
    )
    access_log_slow: float = setting(
        0.0,
        "A request that takes so long gets a line in any case.",
        unit="seconds",
        low=0,
        high=86_400,
        zero="how long it takes makes no difference",
    )
    access_log_errors: bool = setting(
        True, "A request that fails, with a 5xx or a broken-off answer, gets a line in any case."
    )

    def __post_init__(self) -> None:
        enforce(self, LOG_RULES)
