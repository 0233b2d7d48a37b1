"""The help about TLS says what the configuration takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from natscore_cli.conf.options import read_block
from natscore_cli.conf.resolve import load
from natscore_cli.conf.table.top import FILE
from natscore_cli.conf.tree import Place
from natscore_cli.conf.values import Findings
from natscore_cli.tls_help import tls_help_text

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.spec("operations 1.4")


def complaints(path: Path, text: str) -> list[str]:
    """What is wrong with a configuration, but that files of certificates are not there."""
    path.write_text(text)
    findings = Findings()
    read_block(load(str(path), {}).root, Place(str(path), 1, 0), FILE, findings)
    return [line for line in findings.lines() if "no such file" not in line]


def listed(title: str) -> list[str]:
    found = re.search(rf"^{title}:\n((?:    \S+\n)+)", tls_help_text(), re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    found = re.search(r"^    tls \{\n.*?^    \}\n", tls_help_text(), re.MULTILINE | re.DOTALL)
    assert found is not None

    assert complaints(tmp_path / "c.conf", found[0]) == []


def test_every_name_that_is_listed_may_stand_in_a_file(tmp_path: Path) -> None:
    ciphers, curves = listed("Available cipher suites include"), listed("Available curve preferences include")
    text = (
        f"tls {{ cert_file: a, key_file: b, allow_insecure_cipher_suites: true,"
        f" cipher_suites: [ {', '.join(ciphers)} ], curve_preferences: [ {', '.join(curves)} ] }}"
    )

    assert len(ciphers) >= 20
    assert complaints(tmp_path / "c.conf", text) == []
    assert complaints(tmp_path / "c.conf", text.replace(ciphers[0], "TLS_NONE")) != []
