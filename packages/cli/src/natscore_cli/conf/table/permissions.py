"""What clients may: permissions, and the maps of users (configuration.md sections 5.2 and 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from natscore_cli.conf.options import Block, Setting, array_of, block_of, read_block
from natscore_cli.conf.table.keys import USER, is_public_key
from natscore_cli.conf.table.rows import DECLINED, inner, inner_declined
from natscore_cli.conf.values import (
    BOOLEAN,
    INTEGER,
    PLAIN_SUBJECTS,
    SUBJECTS,
    TEXT,
    Invalid,
    Type,
    nanoseconds,
    read_texts,
)

if TYPE_CHECKING:
    from natscore_cli.conf.options import Settings
    from natscore_cli.conf.tree import Node, Place
    from natscore_cli.conf.values import Findings

__all__ = ["PERMISSIONS", "PERMISSIONS_TYPE", "USERS", "USER_BLOCK", "refuse_doubled"]


def _side(subjects: Type) -> Block:
    return Block(
        "subjects",
        (
            inner("allow", subjects, "everything", "what is allowed"),
            inner("deny", subjects, "nothing", "what is not, though it is allowed"),
        ),
        unknown="Unknown field name \"{}\" parsing subject permissions, only 'allow' or 'deny' are permitted",
    )


_PUBLISH: Final = _side(PLAIN_SUBJECTS)
_SUBSCRIBE: Final = _side(SUBJECTS)


def _subjects_or(block: Block, subjects: Type) -> Type:
    def read(node: Node, key: str, findings: Findings) -> object:
        if isinstance(node.value, dict):
            return read_block(node.value, node.place, block, findings)
        return subjects.read(node, key, findings)

    return Type("subjects, or block (subjects)", read, "{ allow: a, deny: [b, c] }", subjects.counterexample)


def _read_expires(node: Node, key: str, findings: Findings) -> int:
    if not isinstance(node.value, str):
        raise Invalid("error parsing expires, not a duration string")
    try:
        return nanoseconds(node.value)
    except Invalid as error:
        raise Invalid(f"error parsing expires: {error}") from None


_RESPONSES: Final = Block(
    "allow_responses",
    (
        inner("max max_msgs max_messages max_responses", INTEGER, "1",
              "responses to one request; -1: any number"),
        inner(
            "expires expiration ttl", Type("duration", _read_expires, '"1m"', "5"), "2m",
            "time for them; negative: for ever",
        ),
    ),
    unknown='Unknown field "{}" parsing permissions',
)  # fmt: skip


def _read_responses(node: Node, key: str, findings: Findings) -> object:
    if isinstance(node.value, bool):
        return node.value
    if isinstance(node.value, dict):
        return read_block(node.value, node.place, _RESPONSES, findings)
    raise Invalid("error parsing response permissions, expected a boolean or a map")


PERMISSIONS: Final = Block(
    "permissions",
    (
        inner("publish pub import", _subjects_or(_PUBLISH, PLAIN_SUBJECTS), "everything", "where to publish",
              block=_PUBLISH),
        inner("subscribe sub export", _subjects_or(_SUBSCRIBE, SUBJECTS), "everything",
              "what to subscribe to", block=_SUBSCRIBE),
        inner(
            "allow_responses publish_allow_responses",
            Type("boolean or block (allow_responses)", _read_responses, "true", "5"),
            "false",
            "publish to the reply subjects of what was received",
            block=_RESPONSES,
        ),
    ),
    unknown='Unknown field "{}" parsing permissions',
    mistyped="Expected permissions to be a map/struct, got {}",
)  # fmt: skip
PERMISSIONS_TYPE: Final = block_of(PERMISSIONS)

_CONNECTION_TYPES: Final = (
    *("STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS"),
    *("MQTT", "MQTT_WS", "IN_PROCESS"),
)


def _read_connection_types(node: Node, key: str, findings: Findings) -> list[str]:
    names = [name.upper() for name in read_texts(node, key, findings)]
    if unknown := [name for name in names if name not in _CONNECTION_TYPES]:
        raise Invalid(
            f"invalid connection types [{' '.join(f'{chr(34)}{name}{chr(34)}' for name in unknown)}]"
        )
    return names


def _check_user(settings: Settings, place: Place, findings: Findings) -> None:
    nkey = settings.get("nkey")
    if nkey is not None:
        if not is_public_key(str(nkey.value), USER):
            findings.error(nkey.place, "Not a valid public nkey for a user")
        if "user" in settings or "password" in settings:
            findings.error(place, "Nkey users do not take usernames or passwords")
    elif "user" not in settings or not settings["user"].value:
        findings.error(place, "User entry requires a user")


USER_BLOCK: Final = Block(
    "user",
    (
        inner("user username", TEXT, "-", "name to log in with"),
        inner("password pass", TEXT, "-", "plain or bcrypt; may be absent for users of certificates"),
        inner("nkey", TEXT, "-", "public user key, in place of name and password",
              sample="UAAACAQDAQCQMBYIBEFAWDANBYHRAEISCMKBKFQXDAMRUGY4DUPB63NN"),
        inner(
            "permissions permission authorization", PERMISSIONS_TYPE, "the default ones", "what the user may",
            block=PERMISSIONS,
        ),
        inner(
            "allowed_connection_types connection_types clients",
            Type("text or array of texts", _read_connection_types, "[STANDARD]", "[FOO]"),
            "all",
            f"kinds of connections: {' '.join(_CONNECTION_TYPES)}",
        ),
        inner_declined("proxy_required", BOOLEAN, "false", "only through a trusted proxy", DECLINED),
    ),
    check=_check_user,
)  # fmt: skip

USERS: Final = array_of(
    USER_BLOCK,
    not_array="Expected users field to be an array, got {value}",
    not_map="Expected user entry to be a map/struct, got {value}",
)


def refuse_doubled(users: Setting | None, seen: set[tuple[str, str]], findings: Findings) -> None:
    """Say which users stand twice; `seen` goes through all blocks of one file."""
    if users is None or not isinstance(users.value, list):
        return
    for user in users.value:
        for kind in ("user", "nkey"):
            setting = user.get(kind)
            if setting is None:
                continue
            identity = (kind, str(setting.value))
            if identity in seen:
                findings.error(setting.place, f'Duplicate {kind} "{setting.value}" detected')
            seen.add(identity)
