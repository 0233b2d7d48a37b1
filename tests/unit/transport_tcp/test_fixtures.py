"""The pytest fixtures for users of the package, in a test run of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

CONFTEST = 'pytest_plugins = ["natscore.testing.fixtures"]\n'


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's project with our fixtures."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
    return pytester


def test_server_of_the_fixture_serves_plain_tests(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import socket

        def test_it_greets(nats_server):
            with socket.create_connection((nats_server.host, nats_server.port)) as client:
                assert client.recv(5) == b"INFO "
            assert nats_server.url == f"nats://127.0.0.1:{nats_server.port}"
        """
    )

    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_server_of_the_fixture_serves_a_client_library_on_its_own_loop(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import asyncio
        import nats

        def test_request(nats_server):
            async def main():
                client = await nats.connect(nats_server.url)
                async def answer(message):
                    await message.respond(message.data * 2)
                await client.subscribe("double", cb=answer)
                assert (await client.request("double", b"ab")).data == b"abab"
                await client.close()
            asyncio.run(main())
        """
    )

    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_options_of_the_server_are_a_fixture_to_override(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from natscore import Options

        @pytest.fixture
        def nats_options():
            return Options(server_name="mine")

        def test_name(nats_server):
            assert nats_server.server.info.server_name == "mine"
        """
    )

    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_several_servers_can_be_started(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        from natscore import Options

        def test_two(start_nats_server):
            one, other = start_nats_server(Options()), start_nats_server(Options())
            assert one.port != other.port
        """
    )

    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_fixture_without_a_transport_fails_and_says_what_to_install(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    hiding: Path = project.mkdir("hiding") / "natscore_tcp.py"
    hiding.write_text("raise ModuleNotFoundError('No module named natscore_tcp', name='natscore_tcp')")
    monkeypatch.setenv("PYTHONPATH", str(hiding.parent), prepend=os.pathsep)
    project.makepyfile("def test_it(nats_server): pass")

    result = project.runpytest_subprocess()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'natscore?tcp?'*"])
