"""Who may ask for what: the tables `[[login]]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.logins.algorithms import PUBLIC, SECRET
from app.settings import checks
from app.settings.declaration import AllTables, TableArray, entry_name
from app.settings.engine import Rule, enforce, setting

__all__ = ["LoginConfig"]


def _is_algorithm(text: str) -> bool:
    return text in PUBLIC or text in SECRET


_RULES = (
    Rule(("name",), bool, "a login needs a name, by which logs and figures call it"),
    Rule(
        ("login", "jwt_issuer", "forward_url"),
        lambda login, issuer, url: [login == "none", bool(issuer), bool(url)].count(True) == 1,
        'expected one of login = "none", jwt with its issuer, and forward with its url',
    ),
    Rule(("jwt_issuer", "jwt_audience"), lambda issuer, audience: bool(issuer) == bool(audience), "expected both"),
    Rule(
        ("jwt_issuer", "jwt_algorithms"),
        lambda issuer, algorithms: not issuer or algorithms,
        "expected at least one algorithm",
    ),
    Rule(
        ("jwt_ca", "jwt_jwks"),
        lambda ca, jwks: not ca or jwks.startswith("https:"),
        "expected only beside jwks with an address with https",
    ),
)


@dataclass(frozen=True)
class LoginConfig:
    """One login; raises `ConfigError` with every fault when made."""

    name: str = setting(
        "",
        "What logs, figures and the page call it.",
        rule="up to 40 letters, digits, - and _, of which no other login has the same",
        check=checks.is_label,
    )
    path: tuple[str, ...] = setting(
        (),
        "The requests that it is about, by their path: exact, or all that begin so with `*` at the end. What closes is"
        " about whatever an application could read as such a path, `/a/..;/internal`; what opens is about no other.",
        zero="every path",
        rule="a list of paths that begin with /",
        check=checks.is_path,
    )
    login: str = setting(
        "required",
        'Whether a login is needed: "none" opens paths again that a later entry would close.',
        rule="required or none",
        check=lambda text: text in ("required", "none"),
    )
    mode: str = setting(
        "enforce",
        'Whether who may not is refused; "observe" only counts and logs it, and lets everybody pass.',
        rule="enforce or observe",
        check=lambda text: text in ("enforce", "observe"),
    )
    jwt_issuer: str = setting("", "`jwt = { issuer = … }`: who has made the token, its `iss` to the letter.")
    jwt_audience: str = setting("", "`jwt = { audience = … }`: whom it is for, one of its `aud`.")
    jwt_jwks: str = setting(
        "",
        "`jwt = { jwks = … }`: where the issuer's public keys are: an address, or a file with a JWKS or keys in PEM.",
        rule="an address with https (http only of this machine), or the absolute path of a file",
        check=checks.is_key_place,
    )
    jwt_ca: str = setting(
        "",
        "`jwt = { ca = … }`: who may have signed the certificate of `jwks`, in PEM: for an issuer with a certificate of"
        " a private authority.",
        zero="whom Mozilla trusts",
        rule="the absolute path of a file",
        check=lambda text: text == "" or (text.startswith("/") and checks.is_file(text)),
    )
    jwt_secret: str = setting(
        "",
        "`jwt = { secret = … }`: the secret that tokens are signed with, in place of public keys.",
        rule="a text of at least 32 bytes (48 for HS384, 64 for HS512)",
        check=lambda text: not text or len(text.encode()) >= min(SECRET.values()),
        secret=True,
    )
    jwt_algorithms: tuple[str, ...] = setting(
        (),
        "`jwt = { algorithms = […] }`: what tokens may be signed with; with nothing else they are refused.",
        rule=f"a list of {', '.join(PUBLIC)}; or, with a secret, of {', '.join(SECRET)}",
        check=_is_algorithm,
    )
    jwt_scope: tuple[str, ...] = setting(
        (),
        "`jwt = { scope = … }`: the scopes that a token must have, all of them; else 403.",
        zero="none in particular",
    )
    jwt_from: str = setting(
        "header",
        "`jwt = { from = … }`: where the token is: `header` is `Authorization: Bearer`.",
        rule="header, or cookie:NAME",
        check=checks.is_token_place,
    )
    jwt_claims: tuple[str, ...] = setting(
        ("sub", "scope"),
        "`jwt = { claims = […] }`: the claims that the application gets: `sub` in X-Auth-Subject, any other in a field"
        " of its own name, X-Auth-Email.",
        zero="none",
        rule="a list of names of claims: letters, digits, - and _",
        check=checks.is_claim,
    )
    forward_url: str = setting(
        "",
        "`forward = { url = … }`: the auth service that is asked about each request, with `X-Forwarded-*`.",
        rule="an address with http",
        check=checks.is_auth_server,
    )
    forward_copy: tuple[str, ...] = setting(
        (),
        "`forward = { copy = […] }`: the fields of its answer that the application gets; what clients send by these"
        " names never arrives.",
        zero="none",
        rule="a list of names of fields, none of them Authorization, Cookie or about the message itself",
        check=checks.is_copied_field,
    )
    forward_sign_in: str = setting(
        "",
        "`forward = { sign_in = … }`: where a browser is sent that has to log in; `{url}` and `{path}` are what it has"
        " asked for, as an address and without its host.",
        zero="it is told 401, or what the auth service says",
        rule="a path, or an address with http or https",
        check=checks.is_sign_in,
    )
    forward_timeout: float = setting(
        5.0,
        "`forward = { timeout = … }`: so long an answer of it may take; then the client is told 503.",
        unit="seconds",
        low=0.05,
        high=60,
    )

    def __post_init__(self) -> None:
        enforce(self, _RULES)

    @property
    def opens(self) -> bool:
        """Whether it opens paths instead of closing them."""
        return self.login == "none"

    @property
    def observes(self) -> bool:
        """Whether it refuses nobody."""
        return self.mode == "observe"


def _prepare(given: Mapping[str, object]) -> Mapping[str, object]:
    """The tables within an entry, `jwt` and `forward`, become settings of the entry's own: `jwt_issuer`."""
    flat: dict[str, object] = {}
    for name, value in given.items():
        if name in ("jwt", "forward") and isinstance(value, Mapping):
            flat |= {f"{name}_{inner}": _listed(inner, one) for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def _listed(name: str, value: object) -> object:
    """RFC 6749 §3.3 writes scopes as one text, parted by spaces."""
    return value.split(" ") if name == "scope" and isinstance(value, str) else value


def _settle(found: AllTables) -> list[str]:
    faults = []
    for number, values in enumerate(found.entries["login"], 1):
        faults += [f"[[login]] {entry_name(values, number)}: {fault}" for fault in _key_faults(values)]
    return faults


def _key_faults(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the keys of one login; here, as no fault may show a secret."""
    if not values["jwt_issuer"]:
        return []
    if bool(values["jwt_jwks"]) == bool(values["jwt_secret"]):
        return ["expected either jwt.jwks, for public keys, or jwt.secret"]
    known = SECRET if values["jwt_secret"] else PUBLIC
    if wrong := [one for one in values["jwt_algorithms"] if one not in known]:
        with_it = "a secret" if values["jwt_secret"] else "public keys"
        return [f"jwt.algorithms = {', '.join(wrong)}: with {with_it}, expected {', '.join(known)}"]
    least = max((SECRET[one] for one in values["jwt_algorithms"] if one in SECRET), default=0)
    if len(values["jwt_secret"].encode()) < least:
        return [f"jwt.secret: expected at least {least} bytes for {', '.join(values['jwt_algorithms'])}"]
    return []


TABLE: Final = TableArray(
    name="login",
    settings=LoginConfig,
    title="Logins",
    about="each closes some paths to those who are not logged in, or opens some again; of those that are about a"
    " request, the first decides. What is named `jwt_…` and `forward_…` here stands in a table within the entry,"
    " `jwt = { issuer = … }`: [an example](../how-to/protect-an-admin-area.md).",
    rules=_RULES,
    prepare=_prepare,
    settle=_settle,
)
