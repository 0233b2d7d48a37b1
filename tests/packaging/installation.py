"""Checks what a wheel installed: `python -I installation.py MODULE [--serve=compiled]`.

Runs on the interpreter of an environment that has the wheel and what it requires,
so it uses the standard library only. With `--serve` it also starts `nats-server-py`
from that environment, says PING, and interrupts it; the log has to name the data
plane that is asked for, `compiled` or `pure`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import json
import pkgutil
import platform
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Final

START_SECONDS_MAX: Final = 20.0
ANSWER_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.02

DATA_PLANES: Final = {
    "compiled": "[INF] Data plane: compiled (natscore-accel ",
    "pure": "[WRN] Data plane: pure Python (natscore-accel is installed, but it was not compiled for ",
}
"""What the log says of each, once."""


def main(module: str, *options: str) -> None:
    """Check the module that is imported by this name, and with `--serve` the command."""
    check_module(module)
    for option in options:
        check_command(option.removeprefix("--serve="))


def check_module(name: str) -> None:
    """Import all of the package, and find in it what a type checker and a lawyer look for."""
    package = importlib.import_module(name)
    # `fixtures` needs pytest, which is there for those who ask for the extra; `__main__` runs the command.
    modules = [
        found.name
        for found in pkgutil.walk_packages(package.__path__, f"{name}.")
        if found.name.rpartition(".")[2] not in ("fixtures", "__main__")
    ]
    for module in modules:
        importlib.import_module(module)
    location = Path(package.__path__[0]).resolve()
    if not location.is_relative_to(Path(sys.prefix).resolve()):
        raise SystemExit(f"{name} is imported from {location}, not from the wheel")
    if not (importlib.resources.files(name) / "py.typed").is_file():
        raise SystemExit(f"{name} has no py.typed: type checkers ignore its annotations")
    (distribution,) = importlib.metadata.packages_distributions()[name]
    files = importlib.metadata.files(distribution) or []
    if not any(file.name == "LICENSE" for file in files):
        raise SystemExit(f"{distribution} does not carry its licence")
    print(f"{distribution} {importlib.metadata.version(distribution)}: {len(modules) + 1} modules")


def check_command(data_plane: str) -> None:
    """Start the server, be answered, interrupt it; it must exit with 0 and without a traceback."""
    line = DATA_PLANES[data_plane]
    command = Path(sysconfig.get_path("scripts")) / "nats-server-py"
    with tempfile.TemporaryDirectory() as directory, (Path(directory) / "log").open("w+") as log:
        process = subprocess.Popen(
            [command, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", directory], stdout=log, stderr=log
        )
        try:
            port = port_of(process, Path(directory) / f"nats-server_{process.pid}.ports")
            greet(port)
            process.send_signal(signal.SIGINT)
            code = process.wait(ANSWER_SECONDS_MAX)
        except BaseException:
            print(Path(log.name).read_text(), file=sys.stderr)
            raise
        finally:
            process.kill()
            process.wait()
        text = Path(log.name).read_text()
    if code != 0 or "Traceback" in text:
        raise SystemExit(f"interrupted, the server exited with {code}; its log:\n{text}")
    said = [found for found in text.splitlines() if "ata plane" in found]
    if len(said) != 1 or line not in said[0]:
        raise SystemExit(f"the server does not say once {line!r}; its log:\n{text}")
    print(f"nats-server-py: PONG on port {port}, exit {code}, {data_plane} on {platform.python_version()}")


def port_of(process: subprocess.Popen[bytes], ports_file: Path) -> int:
    """The client port, once the server has written it down."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not ports_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the server did not start: exit {process.poll()}")
        time.sleep(POLL_SECONDS)
    return int(json.loads(ports_file.read_text())["nats"][0].rpartition(":")[2])


def greet(port: int) -> None:
    """Connect, read INFO, and exchange PING for PONG."""
    with socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS_MAX) as connection:
        lines = connection.makefile("rb")
        if not (info := lines.readline()).startswith(b"INFO {"):
            raise SystemExit(f"the server greets with {info!r}")
        connection.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
        if (answer := lines.readline()) != b"PONG\r\n":
            raise SystemExit(f"the server answers PING with {answer!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
