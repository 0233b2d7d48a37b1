"""What the machine says of itself, and what is assumed where it does not."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys

import pytest

from natscore_cli.machine import interface_addresses, memory_bytes


def test_memory_is_a_plausible_number_of_bytes() -> None:
    assert 64 << 20 < memory_bytes() < 1 << 50


def test_the_loopback_address_is_among_the_addresses() -> None:
    assert "127.0.0.1" in interface_addresses(socket.AF_INET)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_each_address_is_one_of_its_family_and_stands_once(family: socket.AddressFamily) -> None:
    found = interface_addresses(family)

    assert [socket.inet_ntop(family, socket.inet_pton(family, address)) for address in found] == found
    assert len(set(found)) == len(found)


def test_addresses_of_interfaces_can_be_bound() -> None:
    for address in interface_addresses(socket.AF_INET):
        with socket.socket(socket.AF_INET) as probe:
            probe.bind((address, 0))
            assert probe.getsockname()[0] == address


def test_the_limit_of_descriptors_is_raised_to_what_the_administrator_allows() -> None:
    program = (
        "import resource as r; from natscore_cli.machine import raise_descriptor_limit as raise_limit\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, hard)); raise_limit(); print(*r.getrlimit(r.RLIMIT_NOFILE))"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert done.stdout.split() == [str(hard), str(hard)]
