"""What a file asks for that works, and that an operator should think about.

Each is a note of the log when a server starts. Readable passwords and a limit of
descriptors are said there too; flags and the machine have a say in those.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

from natscore_cli.conf.options import Setting
from natscore_cli.conf.values import Listen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from natscore.account.permissions import Permissions
    from natscore_cli.conf.options import Settings
    from natscore_cli.conf.users import FileUser

__all__ = ["Warned", "start_warnings"]


class Warned(NamedTuple):
    """A note of level WARNING."""

    name: str
    fields: Mapping[str, object]


def start_warnings(settings: Settings, users: tuple[FileUser, ...]) -> tuple[Warned, ...]:
    """All of them, in the order of the file's sections."""
    return (*_wide_anonymous(settings, users), *_open_cluster(settings), *_insecure(settings))


def _wide_anonymous(settings: Settings, users: tuple[FileUser, ...]) -> Iterator[Warned]:
    name = settings["no_auth_user"].value if "no_auth_user" in settings else None
    for user in users:
        if name and user.identity == name and _is_wide(user.permissions):
            yield Warned("no_auth_user_wide", {"user": name, "account": user.account})


def _is_wide(permissions: Permissions | None) -> bool:
    """Whether somebody may publish or subscribe to everything, but for what is denied."""
    if permissions is None:
        return True
    allowed = permissions.subscribe.allow
    subscribes = allowed is None or any(subject == b">" for subject, queue in allowed if queue is None)
    return subscribes or permissions.publish.allow is None or b">" in permissions.publish.allow


_LOCALHOST: Final = "localhost"


def _open_cluster(settings: Settings) -> Iterator[Warned]:
    cluster = settings["cluster"].value if "cluster" in settings else None
    if not isinstance(cluster, dict):
        return
    listen = cluster["listen"].value if "listen" in cluster else None
    host = cluster["host"].value if "host" in cluster else None
    port = cluster["port"].value if "port" in cluster else 0
    if isinstance(listen, Listen):
        host, port = listen.host or host, listen.port
    authorization = cluster["authorization"].value if "authorization" in cluster else {}
    tls = cluster["tls"].value if "tls" in cluster else None
    has_login = isinstance(authorization, dict) and "user" in authorization
    if port and not has_login and tls is None and not _is_loopback(str(host or "")):
        yield Warned("cluster_without_login", {"host": host or "0.0.0.0"})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == _LOCALHOST


def _insecure(value: object, path: str = "") -> Iterator[Warned]:
    """Each `insecure: true` of a block of TLS, with the path of the block."""
    if isinstance(value, list):
        for member in value:
            yield from _insecure(member, path)
    for name, inside in value.items() if isinstance(value, dict) else ():
        inner = inside.value if isinstance(inside, Setting) else inside
        if name == "insecure" and inner is True:
            yield Warned("tls_insecure", {"block": path})
        yield from _insecure(inner, f"{path}.{name}" if path else name)
