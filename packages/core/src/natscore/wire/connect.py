"""The CONNECT document of a client, decoded as Go's encoding/json would.

Keys match whatever their case, the last duplicate wins, unknown keys are
ignored, `null` leaves a value as it was, a wrong type is malformed
(client-protocol.md section 6; nats-server 2.14.5, server/client.go type
ClientOpts). Options of a later CONNECT are merged over the current ones.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, Final

import orjson

from natscore.errors import malformed
from natscore.values import value

__all__ = ["NOTHING_SAID", "ConnectOptions", "decode_connect", "is_json"]


@value
class ConnectOptions:
    """What a client said of itself. Nothing here names an account that is obeyed."""

    verbose: bool = True
    pedantic: bool = True
    echo: bool = True
    headers: bool = False
    no_responders: bool = False
    protocol: int = 0
    name: str = ""
    lang: str = ""
    version: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    auth_token: str = field(default="", repr=False)
    nkey: str = field(default="", repr=False)
    signature: str = field(default="", repr=False)
    jwt: str = field(default="", repr=False)
    account: str = ""  # obsolete: refused when not empty
    new_account: bool = False  # obsolete: refused when true

    @property
    def label(self) -> str:
        """`v1.0:py:myapp`, with missing parts left out, for log lines (operations.md section 6.2)."""
        version = f"v{self.version}" if self.version else ""
        return ":".join(part for part in (version, self.lang, self.name) if part)


NOTHING_SAID: Final = ConnectOptions()
"""Of a client before its first CONNECT."""

# JSON key, in lower case: attribute (None: type-checked and ignored), type
_KEYS: Final[dict[str, tuple[str | None, type]]] = {
    "verbose": ("verbose", bool),
    "pedantic": ("pedantic", bool),
    "tls_required": (None, bool),
    "echo": ("echo", bool),
    "headers": ("headers", bool),
    "no_responders": ("no_responders", bool),
    "protocol": ("protocol", int),
    "name": ("name", str),
    "lang": ("lang", str),
    "version": ("version", str),
    "user": ("user", str),
    "pass": ("password", str),
    "auth_token": ("auth_token", str),
    "nkey": ("nkey", str),
    "sig": ("signature", str),
    "jwt": ("jwt", str),
    "account": ("account", str),
    "new_account": ("new_account", bool),
    "import": (None, dict),
    "export": (None, dict),
    "remote_account": (None, str),
    "proxy_sig": (None, str),
}


def is_json(text: bytes) -> bool:
    """Whether `text` is one JSON value and nothing else."""
    try:
        orjson.loads(text.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return False
    return True


def decode_connect(text: bytes, current: ConnectOptions) -> ConnectOptions:
    """`current` with what `text` says laid over it. Raises the silent violation when it is malformed."""
    try:
        # Go replaces bytes that are not UTF-8 rather than refusing them
        document = orjson.loads(text.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        raise malformed() from None
    if document is None:
        return current
    if not isinstance(document, dict):
        raise malformed()
    given: dict[str, Any] = {}
    for key, said in document.items():
        attribute, wanted = _KEYS.get(key.lower(), (None, None))
        if wanted is None or said is None:
            continue
        # bool is a subclass of int, and only ints of 64 bits exist in Go
        if type(said) is not wanted or (isinstance(said, int) and not -(2**63) <= said < 2**63):
            raise malformed()
        if attribute is not None:
            given[attribute] = said
    if current is NOTHING_SAID:  # as good as always, and a fraction of the price
        return ConnectOptions(**given)
    return replace(current, **given)
