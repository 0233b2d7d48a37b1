"""One start of `nats-server-py`: log, files, journal, server, runtime, and their end.

The order is that of operations.md sections 5 and 11. What keeps a server from
starting is said before anything listens; what was opened is closed on every way
out, and the ports file, by which launchers find the server, never outlives it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from natscore.effects import Level, Note, VerifyPassword
from natscore.errors import ConfigError
from natscore.events import ConnectionKind, OptionsReloaded
from natscore.journal import Recorder
from natscore.server import Server
from natscore_cli.arguments import ReloadRefused, StartRefused
from natscore_cli.changes import Profile
from natscore_cli.files import (
    JournalRefused,
    open_journal,
    os_error_text,
    ports_file_path,
    write_pid_file,
    write_ports_file,
)
from natscore_cli.flags import PROGRAM
from natscore_cli.logfile import LogFile
from natscore_cli.logins import authenticators, password_performer
from natscore_cli.logs import Log
from natscore_cli.machine import descriptor_limit, memory_bytes, raise_descriptor_limit
from natscore_cli.redaction import escaped
from natscore_cli.running import PublishedConfiguration
from natscore_cli.signals import NAMES, end_at_once_on_another
from natscore_cli.sink import Sink, is_character_device
from natscore_cli.syslog import SyslogRefused, local_syslog, remote_syslog
from natscore_cli.tls import tls_acceptor
from natscore_cli.version import VERSION
from natscore_tcp import (
    ListenError,
    Runtime,
    TlsAcceptor,
    TransportSettings,
    backend_options,
    choose_executor,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup

    from natscore.events import Address
    from natscore_cli.arguments import Given
    from natscore_cli.logs import Destination
    from natscore_cli.reload import Prepared
    from natscore_cli.settings import LogSettings, Settings
    from natscore_cli.signals import SignalsBeforeStart

__all__ = ["serve"]

_STANDARD_ERROR: Final = 2
_DISCOURAGED_PAYLOAD: Final = 8 * 1024 * 1024  # nats-server's MAX_PAYLOAD_MAX_SIZE
_FATAL: Final = 1  # exit code


def serve(given: Given, settings: Settings, signals: SignalsBeforeStart) -> int:
    """Run a server until a signal ends it. Returns the exit code. Raises StartRefused.

    `given` is what `settings` came of beside the file; a reload takes it again.
    """
    options = _loop_options(settings)
    tls = tls_acceptor(settings.tls)
    settings.logins.authenticator()
    _occupy_standard_descriptors()
    raise_descriptor_limit()
    try:
        log = _open_log(settings.log)
    except SyslogRefused as error:
        return _without_log(str(error))
    except OSError as error:
        return _without_log(f"error opening file: {os_error_text('open', settings.log.file or '', error)}")
    with contextlib.closing(log), _Serving(given, settings, log, signals, tls) as serving:
        try:
            return anyio.run(serving.run, backend=settings.backend, backend_options=options)
        except Exception as error:
            # The runtime has logged what failed; this says where, for the report of the bug.
            for line in "".join(traceback.format_exception(error)).splitlines():
                log(Note(Level.ERROR, "traceback", {"text": line}))
            return _FATAL


def _loop_options(settings: Settings) -> dict[str, object]:
    if settings.backend == "trio":
        import importlib.util

        if importlib.util.find_spec("trio") is None:
            raise StartRefused("trio is not installed; install natscore-transport-tcp[trio]")
    try:
        return backend_options(settings.backend, settings.uvloop)
    except ConfigError as error:
        raise StartRefused(str(error)) from error


def _occupy_standard_descriptors() -> None:
    """Let no socket or file become descriptor 0, 1 or 2, which this or another library may print to."""
    for descriptor in range(3):
        try:
            fcntl.fcntl(descriptor, fcntl.F_GETFD)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free one, which is this


def _without_log(text: str) -> int:
    """A log that cannot be opened: nats-server says so with a date, and without level or pid."""
    when = time.strftime("%Y/%m/%d %H:%M:%S")
    print(f"{when} {escaped(text)}", file=sys.stderr)
    return _FATAL


def _open_log(settings: LogSettings) -> Log:
    """The log where it was asked for. Raises OSError and SyslogRefused."""
    return Log(settings, _open_destination(settings), coloured=_is_coloured(settings))


def _open_destination(settings: LogSettings) -> Destination:
    """Where lines go, by the order of section 6.4. Raises OSError and SyslogRefused."""
    if settings.file is not None:
        return LogFile(settings.file, settings.size_limit, settings.files_max)
    if settings.remote_syslog is not None:
        return remote_syslog(settings.remote_syslog)
    if settings.syslog:
        return local_syslog()
    return Sink(_STANDARD_ERROR)


def _is_coloured(settings: LogSettings) -> bool:
    elsewhere = settings.file is not None or settings.remote_syslog is not None or settings.syslog
    return not elsewhere and is_character_device(_STANDARD_ERROR)


class _Serving:
    """One server with its files. A context manager that closes what it opened."""

    def __init__(
        self,
        given: Given,
        settings: Settings,
        log: Log,
        signals: SignalsBeforeStart,
        tls: TlsAcceptor | None,
    ) -> None:
        self._given = given
        self._settings = settings
        self._profile = Profile.of(settings)
        self._memory_bytes = memory_bytes()
        self._reloads = anyio.Lock()
        self._published = PublishedConfiguration()
        self._log = log
        self._signals = signals
        self._tls = tls
        self._in_lame_duck_mode = False
        self._ports_file: str | None = None
        self._journal: int | None = None

    def __enter__(self) -> _Serving:
        self._executor = choose_executor()
        options = self._settings.options
        self._server = Server(options, data_plane=self._executor.make, authenticators=authenticators)
        shell = self._recorder() or self._server
        self._runtime = Runtime(
            shell,
            note=self._log,
            performers={VerifyPassword: password_performer(lambda: self._settings.options.auth_timeout_ns)},
            settings=TransportSettings(tune_gc=True),
            tls={ConnectionKind.CLIENT: self._tls} if self._tls is not None else None,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._remove_ports_file()
        self._published.close()
        if self._journal is not None:
            os.close(self._journal)

    async def run(self) -> int:
        """Serve; in the words of section 5.1, then of section 11. Returns the exit code."""
        try:
            async with self._runtime.running():
                with anyio.open_signal_receiver(*NAMES) as received:
                    self._say_who_starts()
                    if not self._write_pid_file():
                        return _FATAL
                    options = self._settings.options
                    self._address = address = await self._runtime.listen(options.host, options.port)
                    self._note("listening_for_clients", address=address)
                    self._say_whether_tls()
                    self._write_ports_file(address)
                    self._publish()
                    self._note("server_ready")
                    await self._until_told_to_stop(received)
                    self._note("shutdown_initiated")
                    await self._runtime.stop()
        except ListenError as error:
            self._note("listen_failed", Level.FATAL, address=error.address, error=error.error)
            return _FATAL
        self._remove_ports_file()
        self._note("server_exiting")
        return 0

    async def _until_told_to_stop(self, received: AsyncIterator[signal.Signals]) -> None:
        """Obey signals, until one asks for the end, or lame duck mode is over."""
        async with anyio.create_task_group() as group:
            for number in self._signals.remembered:
                self._obey(number, group)
            async for number in received:
                if self._obey(number, group):
                    group.cancel_scope.cancel()
                    break
        end_at_once_on_another(self._remove_ports_file)

    def _obey(self, number: signal.Signals, group: TaskGroup) -> bool:
        """Do what a signal asks for; True when it asks for the end."""
        self._note("signal_trapped", signal=NAMES[number])
        if number == signal.SIGHUP:
            group.start_soon(self._reload, name="reload")
        elif number == signal.SIGUSR1:
            self._reopen_log()
        elif number == signal.SIGUSR2:
            if not self._in_lame_duck_mode:
                self._in_lame_duck_mode = True
                group.start_soon(self._retire, group.cancel_scope, name="lame duck mode")
        elif number == signal.SIGINT or not self._in_lame_duck_mode:
            # What stops services sends SIGTERM some time after it asked for lame duck mode: that goes on.
            return True
        return False

    async def _retire(self, waiting: anyio.CancelScope) -> None:
        await self._runtime.retire()
        waiting.cancel()

    async def _reload(self) -> None:
        """Let the server have what the file says now, or say why it cannot (section 9)."""
        async with self._reloads:
            try:
                self._apply(await to_thread.run_sync(self._prepare))
            except ReloadRefused as error:
                self._note("reload_refused", Level.ERROR, reason=error)

    def _publish(self) -> None:
        """Let `--reload-dry-run` find by what this server runs, if it can reload at all."""
        if self._settings.configuration is not None:
            self._published.write(self._given, self._profile, self._address.port, self._memory_bytes)

    def _prepare(self) -> Prepared:
        """In a thread, with all that it imports: the loop goes on."""
        from natscore_cli.reload import prepare, read

        found = read(
            self._given,
            self._profile,
            port=self._address.port,
            memory_bytes=self._memory_bytes,
        )
        return prepare(found, self._profile, _open_destination)

    def _apply(self, prepared: Prepared) -> None:
        old, new = self._settings, prepared.settings
        self._settings, self._profile = new, prepared.profile
        self._tls = prepared.tls
        if prepared.tls is not None:
            self._runtime.tls[ConnectionKind.CLIENT] = prepared.tls
        self._runtime.feed(OptionsReloaded(at=self._runtime.now(), options=new.options))
        if prepared.tls is None:
            self._runtime.tls.pop(ConnectionKind.CLIENT, None)
        if new.pid_file is not None and new.pid_file != old.pid_file:
            self._write_pid_file(Level.ERROR)
        if old.ports_file_dir != new.ports_file_dir or (old.tls is None) != (new.tls is None):
            self._remove_ports_file()
            self._write_ports_file(self._address)
        for line in prepared.changes.changes:
            self._note("option_reloaded", what=line)
        self._log.change(new.log, prepared.destination, coloured=_is_coloured(new.log))
        assert new.configuration is not None
        self._note("configuration_reloaded", digest=new.configuration.digest)
        self._publish()

    def _reopen_log(self) -> None:
        try:
            reopened = self._log.reopen()
        except OSError as error:
            text = os_error_text("open", self._settings.log.file or "", error)
            self._note("log_reopen_failed", Level.ERROR, error=text)
            return
        self._note("log_reopened" if reopened else "log_reopen_ignored")

    # -- what is said --------------------------------------------------------------------------------

    def _note(self, name: str, level: Level = Level.INFO, /, **fields: object) -> None:
        self._log(Note(level, name, fields))

    def _say_who_starts(self) -> None:
        settings = self._settings
        options = settings.options
        info = self._server.info
        self._note("server_starting", program=PROGRAM)
        self._note("server_version", version=VERSION)
        self._note("server_git", git="not set")
        self._note("server_runtime", Level.DEBUG, runtime=_runtime_text(settings))
        self._note("server_name", name=info.server_name)
        self._note("server_id", server_id=info.server_id)
        self._log(self._executor.note)
        for flag in settings.ignored_flags:
            self._note("flag_ignored", Level.WARNING, flag=flag)
        if settings.logins.plain_passwords:
            self._note("plaintext_passwords_detected", Level.WARNING)
        configuration = settings.configuration
        if configuration is not None:
            self._note("configuration_file", path=configuration.path, digest=configuration.digest)
            for option, reason in configuration.ignored:
                self._note("option_ignored", Level.WARNING, option=option, reason=reason)
        self._warn()
        if options.max_payload > _DISCOURAGED_PAYLOAD:
            self._note("max_payload_discouraged", Level.WARNING)
        if settings.journal_file is not None:
            self._note("journal_started", Level.WARNING, path=settings.journal_file)

    def _warn(self) -> None:
        """What works, and an operator should think about."""
        for name, fields in self._settings.warnings:
            self._note(name, Level.WARNING, **fields)
        for text in self._tls.warnings if self._tls is not None else ():
            self._note("tls_warning", Level.WARNING, text=text)
        descriptors, wanted = descriptor_limit(), self._settings.options.max_connections
        if descriptors < wanted:
            self._note("descriptor_limit_low", Level.WARNING, descriptors=descriptors, max_connections=wanted)

    def _say_whether_tls(self) -> None:
        tls = self._settings.options.tls
        if tls is None:
            return
        self._note("tls_required_for_clients" if tls.is_required else "tls_available_for_clients")
        if tls.first_ns == 0:
            self._note("tls_handshake_first", Level.WARNING)

    # -- files ---------------------------------------------------------------------------------------

    def _write_pid_file(self, level: Level = Level.FATAL) -> bool:
        path = self._settings.pid_file
        if path is None:
            return True
        try:
            write_pid_file(path)
        except OSError as error:
            self._note("pid_file_failed", level, error=os_error_text("open", path, error))
            return False
        return True

    def _write_ports_file(self, clients: Address) -> None:
        """A failure is logged, and the server goes on (operations.md section 7)."""
        if self._settings.ports_file_dir is None:
            return
        path = self._ports_file = ports_file_path(self._settings.ports_file_dir)
        try:
            write_ports_file(path, [clients], "nats" if self._tls is None else "tls")
        except OSError as error:
            text = os_error_text("open", error.filename or path, error)
            self._note("ports_file_failed", Level.ERROR, path=path, error=text)

    def _remove_ports_file(self) -> None:
        path, self._ports_file = self._ports_file, None
        if path is None:
            return
        try:
            os.unlink(path)
        except OSError as error:
            text = os_error_text("remove", path, error)
            self._note("ports_file_cleanup_failed", Level.ERROR, path=path, error=text)

    # -- journal -------------------------------------------------------------------------------------

    def _recorder(self) -> Recorder | None:
        settings = self._settings
        if settings.journal_file is None:
            return None
        try:
            self._journal = open_journal(settings.journal_file)
        except JournalRefused as error:
            raise StartRefused(f"--journal: {error}") from error
        return Recorder(self._server, self._append_to_journal, settings.journal_size_max)

    def _append_to_journal(self, data: bytes) -> None:
        """Unbuffered: what was recorded survives a crash of the server. Raises OSError."""
        assert self._journal is not None
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._journal, rest) :]


def _runtime_text(settings: Settings) -> str:
    uvloop = sys.modules.get("uvloop")
    in_use = settings.backend == "asyncio" and settings.uvloop is not False and uvloop is not None
    loop = f"asyncio (uvloop {getattr(uvloop, '__version__', '')})" if in_use else settings.backend
    return f"{platform.python_implementation()} {platform.python_version()}, {loop}"
