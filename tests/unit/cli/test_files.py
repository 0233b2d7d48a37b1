"""Pid file, ports file, and the file that a journal is written to."""

from __future__ import annotations

import json
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from natscore.events import Address
from natscore.journal import BANNER
from natscore_cli.files import (
    JournalRefused,
    open_journal,
    os_error_text,
    ports_document,
    ports_file_path,
    write_pid_file,
    write_ports_file,
)
from natscore_cli.machine import interface_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.spec("operations 7", "operations 15")
def test_the_pid_file_holds_the_pid_without_a_line_end_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"

    write_pid_file(str(path))

    assert path.read_bytes() == str(os.getpid()).encode()
    assert mode(path) == 0o600


@pytest.mark.spec("operations 7")
def test_an_old_pid_file_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "server.pid"
    path.write_text("123456789012345678901234567890\n")

    write_pid_file(str(path))

    assert path.read_bytes() == str(os.getpid()).encode()


@pytest.mark.spec("operations 5.2")
def test_what_the_system_refused_is_worded_as_nats_server_does(tmp_path: Path) -> None:
    path = str(tmp_path / "absent" / "file")

    with pytest.raises(FileNotFoundError) as caught:
        write_pid_file(path)

    assert os_error_text("open", path, caught.value) == f"open {path}: no such file or directory"


@pytest.mark.spec("operations 7", "operations 15")
def test_the_ports_file_is_named_after_nats_server_and_the_pid() -> None:
    assert ports_file_path("/run") == f"/run/nats-server_{os.getpid()}.ports"


@pytest.mark.spec("operations 7")
def test_the_ports_file_is_one_json_object_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x.ports"

    write_ports_file(str(path), [Address("127.0.0.1", 4222), Address("::1", 4223)])

    assert path.read_bytes() == b'{"nats":["nats://127.0.0.1:4222","nats://[::1]:4223"]}'
    assert mode(path) == 0o666
    assert list(tmp_path.iterdir()) == [path]


def test_a_ports_file_that_cannot_be_put_in_place_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.ports"
    path.mkdir()

    with pytest.raises(IsADirectoryError):
        write_ports_file(str(path), [Address("127.0.0.1", 4222)])

    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.spec("operations 7")
@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_a_listener_on_all_interfaces_is_listed_once_for_each_address(host: str) -> None:
    hosts = interface_addresses(socket.AF_INET) + interface_addresses(socket.AF_INET6)

    urls = json.loads(ports_document([Address(host, 4222)]))["nats"]

    assert urls == [f"nats://[{found}]:4222" if ":" in found else f"nats://{found}:4222" for found in hosts]
    assert "nats://127.0.0.1:4222" in urls


def test_a_journal_is_created_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    os.close(open_journal(str(path)))

    assert mode(path) == 0o600


@pytest.mark.parametrize("held", [BANNER + b"{}\nrecords", BANNER.replace(b"journal 1", b"journal 2")])
def test_an_old_journal_is_emptied_and_closed_to_others(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(held)
    path.chmod(0o644)

    os.close(open_journal(str(path)))

    assert path.read_bytes() == b""
    assert mode(path) == 0o600


def test_a_journal_that_a_full_disk_cut_in_its_first_line_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(BANNER[:10])

    os.close(open_journal(str(path)))

    assert path.read_bytes() == b""


@pytest.mark.parametrize("held", [b"precious\n", b"x" * 1_000, BANNER[1:]])
def test_a_journal_is_not_written_over_anything_but_a_journal(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(held)
    path.chmod(0o644)

    with pytest.raises(JournalRefused, match="holds something else than a journal"):
        open_journal(str(path))

    assert path.read_bytes() == held
    assert mode(path) == 0o644


def test_a_journal_does_not_follow_a_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    link = tmp_path / "journal"
    link.symlink_to(target)

    with pytest.raises(JournalRefused, match="is a symbolic link"):
        open_journal(str(link))

    assert target.read_text() == "precious"


def test_a_journal_is_not_written_to_a_pipe_or_a_device(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with pytest.raises(JournalRefused, match="is not a regular file"):
        open_journal(str(pipe))
    with pytest.raises(JournalRefused, match="is not a regular file"):
        open_journal(os.devnull)
    os.close(reader)
    with pytest.raises(JournalRefused, match="is not a regular file"):
        open_journal(str(pipe))


def test_a_journal_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = open_journal(str(path))
    os.write(first, BANNER)

    with pytest.raises(JournalRefused, match="is being written by another process"):
        open_journal(str(path))

    assert path.read_bytes() == BANNER
    os.close(first)
    os.close(open_journal(str(path)))
    assert path.read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_journal_is_not_written_over_the_file_of_another_user(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("theirs")
    os.chown(path, 12_345, -1)

    with pytest.raises(JournalRefused, match="belongs to another user"):
        open_journal(str(path))

    assert path.read_text() == "theirs"


def test_a_journal_in_a_directory_that_does_not_exist_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "journal"

    with pytest.raises(JournalRefused) as caught:
        open_journal(str(path))

    assert str(caught.value) == f"open {path}: no such file or directory"
