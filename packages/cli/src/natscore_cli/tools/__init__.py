"""`natscore`: tools beside the server.

    natscore replay FILE                        re-execute a journal, report state or the first difference
    natscore journal export FILE -o OUTPUT      a copy without payloads and credentials, which replays too
    natscore config reference                   the options of the configuration file, as a page

Each tool is a module, imported when it is asked for.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from natscore_cli.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one tool. Returns 0, 1 when it failed at its task, or 2 for a wrong command line."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # `natscore replay FILE | head`
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="natscore", description="Tools for nats-server-py.")
    parser.add_argument("--version", action="version", version=f"natscore: v{VERSION}")
    tools = parser.add_subparsers(required=True, metavar="TOOL")

    replay = tools.add_parser(
        "replay",
        help="re-execute a journal and compare every step",
        description="Re-execute a journal and report the final state, or the first event that differs.",
    )
    replay.add_argument("file", help="written by nats-server-py --journal")
    replay.add_argument(
        "--pure",
        action="store_true",
        help="on the data plane in pure Python (default: the one that a server would take)",
    )
    replay.set_defaults(run=_replay)

    journal = tools.add_parser("journal", help="work on journals", description="Work on journals.")
    actions = journal.add_subparsers(required=True, metavar="ACTION")
    export = actions.add_parser(
        "export",
        help="copy a journal without payloads and credentials",
        description="Copy a journal without payloads, passwords, tokens and user names. "
        "The copy replays. Subjects, client names and addresses stay.",
    )
    export.add_argument("file", help="written by nats-server-py --journal")
    export.add_argument("-o", "--output", required=True, metavar="FILE", help="a file that does not exist")
    export.set_defaults(run=_export)

    config = tools.add_parser("config", help="about configuration files", description="Configuration files.")
    about = config.add_subparsers(required=True, metavar="ACTION")
    reference = about.add_parser(
        "reference",
        help="print every option of the configuration file",
        description="Print every option of the configuration file, as a page in Markdown.",
    )
    reference.set_defaults(run=_reference)
    return parser


def _replay(given: argparse.Namespace) -> int:
    from natscore_cli.tools.replay import run

    return run(given.file, pure=given.pure)


def _reference(given: argparse.Namespace) -> int:
    from natscore_cli.conf.reference import render

    print(render(), end="")
    return 0


def _export(given: argparse.Namespace) -> int:
    from natscore_cli.tools.export import run

    return run(given.file, given.output)
