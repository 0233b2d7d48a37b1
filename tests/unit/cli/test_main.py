"""The command decides by its flags, in nats-server's order, what to print and how to exit."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from natscore_cli.main import main
from natscore_cli.version import VERSION


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("natscore-cli") == VERSION


@pytest.mark.spec("operations 1.1")
@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["-v", "-h"], "nats-server-py: v"),
        (["-h", "word"], "\nUsage:"),
        (["-v", "word", "--tls"], "nats-server-py: v"),
        (["Version"], "nats-server-py: v"),
        (["HELP"], "\nUsage:"),
        (["--tls", "help"], "\nUsage:"),
        (["-h=false", "-v"], "nats-server-py: v"),
    ],
)
def test_version_and_help_come_before_everything_but_syntax(
    words: list[str], begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0

    printed = capsys.readouterr()
    assert printed.out.startswith(begins)
    assert printed.err == ""


@pytest.mark.spec("operations 1.1")
def test_a_flag_that_does_not_parse_comes_before_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "-foo"]) == 2

    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "nats-server-py: flag provided but not defined: -foo\n")


def test_a_word_that_is_no_command_comes_before_what_flags_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tls", "word"]) == 1

    assert capsys.readouterr().err == 'nats-server-py: unrecognized command: "word"\n'


@pytest.mark.spec("operations 1.3")
def test_secrets_leave_the_argument_vectors_of_the_process() -> None:
    program = (
        "import sys\n"
        "from natscore_cli.main import main\n"
        "main()\n"
        "print(any('s3' + 'cret' in word for word in [*sys.argv, *sys.orig_argv]), '--auth' in sys.argv)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "--user", "s3cret", "--pass=s3cret", "--auth", "s3cret", "-v"],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout.splitlines()[-1] == "False True"
