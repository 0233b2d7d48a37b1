"""What becomes of connections when the settings of a server are replaced.

    OptionsReloaded ─► options, authenticator and INFO are swapped, tables emptied   in one step
                    ─► each connection is judged anew: kept, trimmed, or closed       in slices
                    ─► the newest above max_connections are closed                    in slices

A connection is judged in its slice, or before anything more of what it sent is
read, whichever is first: no message is published by rules of before. One whose
right has not changed notices nothing.

Judging is logging in again with what the client said. A hash that has not changed
is not computed again; where it has, a few are computed at a time, and the connection
stands still until its turn.

Source: operations.md section 9.3; nats-server 2.14.5, server/reload.go
reloadAuthorization, maxConnOption, server/client.go processSubsOnConfigReload.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from natscore import errors
from natscore.authentication import Accept, Refuse, Wait
from natscore.connection import client
from natscore.connection.client import as_wanted
from natscore.connection.session import Phase, Timer
from natscore.effects import Level, VerifyPassword
from natscore.errors import CloseReason, UsageError
from natscore.events import AttemptId
from natscore.facts import ClientConnected, OptionsChanged, PermissionsChanged, SubscriptionsChanged
from natscore.reload import reload_problems
from natscore.turn import OP_COST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from natscore.account.permissions import Permissions
    from natscore.authentication import Authenticator
    from natscore.connection.context import Context
    from natscore.connection.lifecycle import Lifecycle
    from natscore.connection.session import Session
    from natscore.events import Address, ConnectionId, OptionsReloaded, PasswordVerified
    from natscore.facts import Fact
    from natscore.options import Options
    from natscore.plane import Subscription

__all__ = ["Reloading"]

CHECKS_AT_ONCE: Final = 4
"""Passwords that are compared with changed hashes at a time; those of new logins must not wait for all."""

_JUDGE_COST: Final = 4 * OP_COST
_TLS_PHASES: Final = (Phase.AWAITING_HELLO, Phase.CHOOSING, Phase.HANDSHAKING)


class Reloading:
    """Replaces the settings of a server, and judges its connections by them."""

    def __init__(
        self,
        context: Context,
        lifecycle: Lifecycle,
        settle: Callable[[Fact], None],
        settle_all: Callable[[Session, Iterator[Fact | None]], None],
        authenticators: Callable[[Options], Authenticator],
    ) -> None:
        self.listening: Address | None = None  # where the listener for clients is bound
        self._context = context
        self._lifecycle = lifecycle
        self._settle = settle
        self._settle_all = settle_all
        self._authenticators = authenticators
        self._walk: Iterator[Session] | None = None
        self._imported_anew: dict[str, int] = {}  # accounts whose stream imports changed, and by which reload
        self._unpinned = 0  # closed in this walk, for the key of their certificate
        self._checks: dict[AttemptId, ConnectionId] = {}  # asked for, and not answered
        self._waiting: deque[AttemptId] = deque()  # not yet asked for
        self._asked: dict[AttemptId, ConnectionId] = {}  # whose those are

    @property
    def is_walking(self) -> bool:
        """Whether there are connections that no slice has come to."""
        return self._walk is not None

    def problems(self, options: Options) -> list[str]:
        """Why these options cannot take the place of those that are there; empty: they can."""
        return self._problems(options, self._authenticators)

    def _problems(self, options: Options, authenticators: Callable[[Options], Authenticator]) -> list[str]:
        port = self.listening.port if self.listening is not None else None
        return reload_problems(
            self._context.options,
            options,
            port=port,
            authenticators=authenticators,
            accounts=self._context.state.resolve,
        )

    def begin(self, event: OptionsReloaded) -> Options:
        """Let the options count from now on, for everything that is looked up, and return them.

        Raises UsageError for those that cannot; then nothing has changed.
        """
        made: list[Authenticator] = []  # once for the question and for what follows
        problems = self._problems(event.options, lambda options: _kept(self._authenticators(options), made))
        if problems:
            raise UsageError("; ".join(problems))
        context = self._context
        context.authenticator = authenticator = made[0]
        context.options = options = event.options
        context.reloads += 1
        tls = options.tls
        context.info = replace(
            context.info,
            auth_required=authenticator.announces_login,
            max_payload=options.max_payload,
            tls_required=tls is not None and tls.is_required,
            tls_verify=tls is not None and tls.verify,
            tls_available=tls is not None and not tls.is_required,
        )
        if self.listening is not None:
            self.listen(self.listening)
        accounts = context.state.accounts
        imports = {name: account.declared.streams for name, account in accounts.items()}
        self._settle(OptionsChanged(event.at, options))
        for name, account in accounts.items():
            if account.declared.streams != imports.get(name, []):
                self._imported_anew[name] = context.reloads
        self._walk = self._all()
        return options

    def listen(self, address: Address) -> None:
        """The listener for clients is bound; INFO says where, or what is to be said instead."""
        self.listening = address
        self._context.info = self._context.info.listening(address, self._context.options.client_advertise)

    def walk(self, guard: Callable[[Session, Callable[[Session], None]], None]) -> None:
        """Judge connections with half of what the turn has; the rest waits, while others go on."""
        if self._walk is None:
            return
        kept = self._context.options.turn_output_max // 2
        while self._context.state.plane.left > kept:
            session = next(self._walk, None)
            if session is None:
                self._walk = None
                return
            guard(session, self.judge if self.is_stale(session) else self._refuse_one_too_many)

    def _all(self) -> Iterator[Session]:
        """Those to be judged in the order in which they came, then those to be closed, newest first."""
        sessions = self._lifecycle.sessions
        for cid in list(sessions):
            session = sessions.get(cid)
            if session is not None and self.is_stale(session) and session.phase not in _TLS_PHASES:
                yield session
        if self._unpinned:
            self._context.note(Level.INFO, "connections_closed_by_pins", closed=self._unpinned)
            self._unpinned = 0
        state, most = self._context.state, self._context.options.max_connections
        closed = 0
        for cid in reversed(list(sessions)):
            if state.open_connections <= most:
                break
            session = sessions.get(cid)
            if session is not None and session.phase is not Phase.CLOSING:
                closed += 1
                yield session
        if closed:
            self._context.note(Level.INFO, "connections_closed_by_limit", closed=closed)

    def is_stale(self, session: Session) -> bool:
        """Whether a connection is to be judged before anything else. One in the middle of an op is not."""
        return (
            session.reloads != self._context.reloads
            and session.job is None
            and session.phase is not Phase.CLOSING
        )

    def _refuse_one_too_many(self, session: Session) -> None:
        if session.phase is Phase.HANDSHAKING:  # nothing can be said to it
            self._lifecycle.end(session, CloseReason.MAX_CONNECTIONS)
        else:
            raise errors.connections_exceeded()

    def judge(self, session: Session) -> None:
        """Keep a connection, take from it what it may not have, or end it. Raises Violation."""
        self._settle_all(session, self._judgement(session))

    def _judgement(self, session: Session) -> Iterator[Fact | None]:
        """The facts of that. None stands for work that is no fact, and may be enough for a turn."""
        context = self._context
        before, session.reloads = session.reloads, context.reloads
        context.state.plane.spend(_JUDGE_COST)
        connection, options = session.connection, context.options
        connection.source.max_control_line = options.max_control_line
        connection.source.max_payload = options.payload_bound
        if options.trace and not connection.source.stepping:
            session.traced = connection.outbox.appended  # what it was told before is not shown
        connection.source.stepping = options.trace
        if self._has_other_key(session):
            self._unpinned += 1
            self._lifecycle.end(session, CloseReason.TLS_HANDSHAKE)
        elif session.phase is Phase.VERIFYING and connection.awaits_login:
            assert session.verdict is not None
            session.phase = Phase.AWAITING_CONNECT
            yield from client.log_in(context, session, session.verdict[1])
        elif connection.awaits_login:
            if not context.authenticator.requires_login:
                yield from self._let_in(session)
        else:
            if self._imported_anew.get(connection.account.name, 0) > before:
                yield from self._judge_subscriptions(session, are_affected=True)
            yield from self._log_in_again(session)
        if session.phase is Phase.ESTABLISHED and connection.source.has_work:
            self._lifecycle.queue(session)
        self._lifecycle.regulate(session)

    def _has_other_key(self, session: Session) -> bool:
        """Whether a connection is under TLS with a key that is none of those pinned."""
        tls = self._context.options.tls
        if tls is None or not tls.pinned_keys or session.tls is None:
            return False
        return session.tls.peer is None or session.tls.peer.key_sha256 not in tls.pinned_keys

    def _let_in(self, session: Session) -> Iterator[Fact]:
        """Nobody has to log in any more, and who was waited for need not say anything."""
        connection = session.connection
        self._context.deadlines.cancel((connection.cid, Timer.LOGIN))
        session.phase = Phase.ESTABLISHED
        yield ClientConnected(connection.cid, connection.account.name, connection.options)

    def _log_in_again(self, session: Session) -> Iterator[Fact | None]:
        context, connection = self._context, session.connection
        context.deadlines.cancel((connection.cid, Timer.LOGIN))
        session.attempt = session.verdict = None
        session.phase = Phase.ESTABLISHED
        verdict = context.authenticator.authenticate(client.login_of(context, session, connection.options))
        if isinstance(verdict, Wait):
            if isinstance(verdict.then, Refuse) or verdict.hashed == session.verified:
                verdict = verdict.then
            else:
                self._verify(session, verdict)
                return
        else:
            session.verified = None
        yield from self._treat(session, verdict)

    def _treat(self, session: Session, verdict: Accept | Refuse) -> Iterator[Fact | None]:
        """Do what a verdict means for a client that is logged in."""
        connection = session.connection
        if isinstance(verdict, Refuse) and not verdict.is_unknown:
            yield from client.refuse(self._context, session, connection.options)
            raise errors.authorization_violation()
        if isinstance(verdict, Refuse) or verdict.account != connection.account.name:
            self._lifecycle.end(session, CloseReason.CLIENT_CLOSED)  # it comes back, as somebody else
        elif verdict.permissions != connection.permissions:
            yield from self._permit(session, verdict.permissions)

    def _permit(self, session: Session, permissions: Permissions) -> Iterator[Fact | None]:
        """Let a client do other things from now on, and no longer want what it may not have."""
        connection = session.connection
        filters = bool(connection.permissions.subscribe.deny or permissions.subscribe.deny)
        yield PermissionsChanged(connection.cid, permissions)
        yield from self._judge_subscriptions(session, are_affected=filters)

    def _judge_subscriptions(self, session: Session, *, are_affected: bool) -> Iterator[Fact | None]:
        """Remove what is not permitted; say of the rest, if it is affected, that it was judged anew."""
        connection = session.connection
        cid, permissions = connection.cid, connection.permissions
        sids = list(connection.subscriptions)
        most = len(connection.some_subscriptions()) or 1
        for start in range(0, len(sids), most):
            removed, kept = [], []
            for sid in sids[start : start + most]:
                subscription = connection.subscriptions.get(sid)
                if subscription is None:  # it reached its max
                    continue
                if permissions.subscribe.permit(subscription.subject, subscription.queue):
                    kept.append(sid)
                else:
                    removed.append(as_wanted(subscription))
                    self._say_removed(session, subscription)
            if removed or (kept and are_affected):
                judged = tuple(kept) if are_affected else ()
                yield SubscriptionsChanged(cid, removed=tuple(removed), judged=judged)
            self._context.state.plane.spend(OP_COST * len(kept))
            yield None

    def _say_removed(self, session: Session, subscription: Subscription) -> None:
        text = errors.subscription_removed(subscription.subject, subscription.queue, subscription.sid)
        assert text.wire_text is not None
        session.connection.outbox.write(b"-ERR '" + text.wire_text + b"'\r\n")
        self._context.note_of(
            session,
            Level.INFO,
            "subscription_removed",
            subject=subscription.subject,
            queue=subscription.queue,
            sid=subscription.sid,
            user=session.connection.options.user,
        )

    # -- hashes that have changed ------------------------------------------------------------------

    def _verify(self, session: Session, verdict: Wait) -> None:
        """Let a password be compared once it is its turn. The connection stands still."""
        context, connection = self._context, session.connection
        context.attempts += 1
        session.attempt = attempt = AttemptId(context.attempts)
        session.verdict = (verdict, connection.options)
        session.phase = Phase.VERIFYING
        self._asked[attempt] = connection.cid
        self._waiting.append(attempt)
        self._ask()

    def _ask(self) -> None:
        context = self._context
        while self._waiting and len(self._checks) < CHECKS_AT_ONCE:
            attempt = self._waiting.popleft()
            cid = self._asked.pop(attempt)
            session = self._lifecycle.sessions.get(cid)
            if session is None or session.attempt != attempt or session.phase is not Phase.VERIFYING:
                continue
            assert session.verdict is not None
            wait, _ = session.verdict
            self._checks[attempt] = cid
            context.effects.append(VerifyPassword(attempt, cid, wait.password, wait.hashed))
            due = context.at.monotonic_ns + context.options.auth_timeout_ns
            context.deadlines.set((cid, Timer.LOGIN), due)

    def owns(self, event: PasswordVerified) -> bool:
        """Whether an answer is to a question of this; then others may be asked."""
        if self._checks.pop(event.attempt, None) is None:
            return False
        self._ask()
        return True

    def finish(self, context: Context, session: Session, matches: bool) -> Iterator[Fact | None]:
        """Go on with a connection whose password was compared with another hash than before."""
        assert session.verdict is not None
        wait, _ = session.verdict
        context.deadlines.cancel((session.connection.cid, Timer.LOGIN))
        session.attempt = session.verdict = None
        session.phase = Phase.ESTABLISHED
        session.verified = wait.hashed if matches else None
        yield from self._treat(session, wait.then if matches else Refuse())


def _kept(authenticator: Authenticator, made: list[Authenticator]) -> Authenticator:
    made.append(authenticator)
    return authenticator
