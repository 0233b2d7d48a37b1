"""What a client may ask of the control plane, and what it is answered.

Handlers look, decide, write their answers to the client's own outbox, and yield
facts; the server settles each fact before it asks for the next. A `Violation`
raised here is turned into bytes and a close by the server.

Sources: client-protocol.md sections 3, 6, 8, 14 and 19.1; nats-server 2.14.5,
server/client.go processConnect, processSubEx, processUnsub, processPing,
processPong, setFirstPingTimer.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from natscore import errors
from natscore.account.permissions import EVERYTHING
from natscore.authentication import Accept, Login, Refuse, Wait, nonce_text
from natscore.connection.session import Phase, Timer
from natscore.effects import Level, VerifyPassword
from natscore.events import AttemptId
from natscore.facts import AuthenticationFailed, ClientConnected, SubscriptionsChanged, Wanted
from natscore.options import SECOND
from natscore.subject import is_valid
from natscore.turn import SHADOWS_MAX
from natscore.wire.connect import decode_connect, is_json
from natscore.wire.info import encode_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.account.permissions import SubscribeRules
    from natscore.connection.context import Context
    from natscore.connection.session import Session
    from natscore.events import ConnectionId
    from natscore.facts import Fact
    from natscore.plane import Found, Subscription
    from natscore.wire.connect import ConnectOptions

__all__ = [
    "admit",
    "admit_anonymous",
    "answer_ping",
    "as_wanted",
    "begin",
    "change_subscriptions",
    "connect",
    "end_exhausted",
    "finish_login",
    "greet",
    "ignore_info",
    "log_in",
    "login_of",
    "login_timer",
    "note_pong",
    "ping_timer",
    "refuse",
]

Ops = list[tuple[bytes, list[bytes]]]

_RESERVED_QUEUE: Final = b"_sys_"
_FIRST_PING_NS: Final = 2 * SECOND  # the round trip is measured this early, spread by up to a fifth
_RTT_AGE_NS: Final = 3600 * SECOND  # and again when the last measure is older than this
_DIGITS: Final = re.compile(rb"[0-9]{1,9}").fullmatch


def greet(context: Context, session: Session) -> None:
    """Send the INFO that a client gets before it says anything (section 5)."""
    connection = session.connection
    nonce = ""
    if context.authenticator.checks_signatures:  # some clients take a nonce for a demand to sign it
        nonce = nonce_text(session.nonce)
    connection.outbox.write(encode_info(context.info, connection.cid, connection.remote.host, nonce=nonce))


def admit(context: Context, session: Session, anonymous: int) -> None:
    """Refuse one client too many.

    `anonymous` is how many connections from its address have not logged in, itself included.
    """
    options = context.options
    if context.state.open_connections > options.max_connections:
        raise errors.connections_exceeded()
    most = options.unauthenticated_per_address_max
    if most and session.connection.awaits_login and anonymous > most:
        raise errors.unauthenticated_exceeded()


def begin(context: Context, session: Session) -> None:
    """Read ops from now on, and start the timers; with TLS that is after the handshake."""
    options = context.options
    cid = session.connection.cid
    now = context.at.monotonic_ns
    awaits_login = session.connection.awaits_login
    session.phase = Phase.AWAITING_CONNECT if awaits_login else Phase.ESTABLISHED
    if awaits_login or context.authenticator.requires_login:  # for one from before a reload, by what it says
        context.deadlines.set((cid, Timer.LOGIN), now + options.auth_timeout_ns)
    context.deadlines.set((cid, Timer.PING), now + options.ping_interval_ns)


def connect(context: Context, session: Session, ops: Ops) -> Iterator[Fact]:
    """CONNECT: merge the options, log in, and bind to an account. The order of checks is section 6's."""
    connection = session.connection
    ((_, (document,)),) = ops
    now = context.at.monotonic_ns
    if session.rtt_at_ns is None:
        session.rtt_ns = now - session.opened_ns
    _arm_first_ping(context, session)
    yield from log_in(context, session, decode_connect(document, connection.options))


def log_in(context: Context, session: Session, said: ConnectOptions) -> Iterator[Fact]:
    """Let the authenticator judge what a client said of itself, and bind it, refuse it, or wait."""
    connection = session.connection
    verdict = context.authenticator.authenticate(login_of(context, session, said))
    if isinstance(verdict, Refuse):
        yield from refuse(context, session, said)
        raise errors.authorization_violation()
    if isinstance(verdict, Wait):
        context.attempts += 1
        session.attempt = AttemptId(context.attempts)
        session.verdict = (verdict, said)
        session.phase = Phase.VERIFYING
        context.effects.append(
            VerifyPassword(session.attempt, connection.cid, verdict.password, verdict.hashed)
        )
        return
    session.verified = None
    yield from _bind(context, session, verdict, said)


def finish_login(context: Context, session: Session, matches: bool) -> Iterator[Fact]:
    """Go on with a CONNECT whose password has been verified, or not."""
    assert session.verdict is not None
    asked, said = session.verdict
    verdict = asked.then
    session.attempt = session.verdict = None
    session.phase = Phase.AWAITING_CONNECT
    if not matches or isinstance(verdict, Refuse):
        yield from refuse(context, session, said)
        raise errors.authorization_violation()
    session.verified = asked.hashed
    yield from _bind(context, session, verdict, said)


def admit_anonymous(context: Context, session: Session) -> Iterator[Fact]:
    """The first op is not CONNECT although a login is awaited: let in as the no_auth_user, or refused.

    The options are the default ones, as on an open server (section 1.1).
    """
    connection = session.connection
    said = connection.options
    authenticator = context.authenticator
    login = login_of(context, session, said)
    verdict = authenticator.authenticate(login) if authenticator.admits_anonymous else Refuse()
    if not isinstance(verdict, Accept):
        yield from refuse(context, session, said)
        raise errors.authorization_violation()
    context.deadlines.cancel((connection.cid, Timer.LOGIN))
    session.phase = Phase.ESTABLISHED
    yield ClientConnected(connection.cid, verdict.account, said, verdict.permissions)


def login_of(context: Context, session: Session, said: ConnectOptions) -> Login:
    """What an authenticator may judge by."""
    certificate = session.tls.peer if session.tls is not None else None
    return Login(context.at, session.connection.remote, said, session.nonce, certificate=certificate)


def refuse(context: Context, session: Session, said: ConnectOptions) -> Iterator[Fact]:
    """Note that a login failed."""
    context.note_of(session, Level.ERROR, "authentication_failed", user=said.user)
    yield AuthenticationFailed(session.connection.cid, said.user)


def _bind(context: Context, session: Session, verdict: Accept, said: ConnectOptions) -> Iterator[Fact]:
    connection = session.connection
    if said.account or said.new_account:  # no field of CONNECT chooses an account
        yield from refuse(context, session, said)
        raise errors.authorization_violation()
    if verdict.user:
        said = replace(said, user=verdict.user)  # as which the log names it
    context.deadlines.cancel((connection.cid, Timer.LOGIN))
    # A repeated CONNECT starts afresh, as in 2.12.10 and later. What was subscribed before the first one,
    # on an open server, stands, but no subscription follows a client into another account.
    starts_afresh = (
        session.has_connected
        or verdict.account != connection.account.name
        or verdict.permissions != connection.permissions
    )
    while starts_afresh and connection.subscriptions:
        some = connection.some_subscriptions()
        yield SubscriptionsChanged(connection.cid, removed=tuple(as_wanted(one) for one in some))
    session.has_connected = True
    session.phase = Phase.ESTABLISHED
    yield ClientConnected(connection.cid, verdict.account, said, verdict.permissions)
    if said.protocol not in (0, 1):
        raise errors.invalid_client_protocol()
    if said.no_responders and not connection.source.headers:
        raise errors.no_responders_needs_headers()
    connection.source.first_ping_due = not session.pong_sent
    if said.verbose:
        connection.outbox.write(b"+OK\r\n")


def as_wanted(subscription: Subscription) -> Wanted:
    """A subscription as a value."""
    return Wanted(subscription.sid, subscription.subject, subscription.queue)


def end_exhausted(exhausted: Found[Subscription]) -> list[SubscriptionsChanged]:
    """The end of subscriptions that reached their max, a fact for each connection. Clears what is given."""
    gone: dict[ConnectionId, list[Wanted]] = {}
    for subscription in exhausted:
        if subscription.node is not None:  # else its connection ended before this settle
            gone.setdefault(subscription.outbox.cid, []).append(as_wanted(subscription))
    exhausted.clear()
    return [SubscriptionsChanged(cid, removed=tuple(wanted)) for cid, wanted in gone.items()]


def change_subscriptions(context: Context, session: Session, ops: Ops) -> Iterator[Fact]:
    """SUB and UNSUB in a row: one fact, unless a sid that it changes occurs again (section 8)."""
    connection = session.connection
    cid = connection.cid
    outbox = connection.outbox
    verbose = connection.options.verbose
    limit = context.options.max_subscriptions
    tokens_max = context.options.max_subject_tokens
    permissions = connection.permissions
    rules = permissions.subscribe if permissions is not EVERYTHING else None
    subscriptions = connection.subscriptions
    added: dict[bytes, Wanted] = {}
    removed: dict[bytes, Wanted] = {}
    limited: dict[bytes, int] = {}
    most = max(1, SHADOWS_MAX // max(1, len(connection.account.declared.streams)))
    for name, words in ops:
        subscribes = name == b"SUB"
        sid = words[-1] if subscribes else words[0]
        if sid in added or sid in removed or sid in limited or len(added) + len(removed) >= most:
            yield _changed(cid, added, removed, limited)
            added, removed, limited = {}, {}, {}
        if subscribes:
            subject = words[0]
            queue = words[1] if len(words) == 3 else None
            refusal = None
            if queue is not None or limit or tokens_max or rules is not None:
                held = len(subscriptions) + len(added) - len(removed)
                refusal = _refusal_of(context, rules, subject, queue, held, limit)
            if refusal is None and sid not in subscriptions:
                if is_valid(subject):
                    added[sid] = Wanted(sid, subject, queue)
                else:
                    refusal = errors.invalid_subject()
            if refusal is not None:
                _report_refusal(context, session, refusal, sid, subject, queue)
                continue
        else:
            subscription = subscriptions.get(sid)
            if subscription is not None:
                maximum = int(words[1]) if len(words) == 2 and _DIGITS(words[1]) else 0
                if maximum > subscription.delivered:
                    limited[sid] = maximum
                else:
                    removed[sid] = as_wanted(subscription)
        if verbose:
            outbox.write(b"+OK\r\n")
    if added or removed or limited:
        yield _changed(cid, added, removed, limited)


def _changed(
    cid: ConnectionId, added: dict[bytes, Wanted], removed: dict[bytes, Wanted], limited: dict[bytes, int]
) -> SubscriptionsChanged:
    return SubscriptionsChanged(cid, (*added.values(),), (*removed.values(),), (*limited.items(),))


def _report_refusal(
    context: Context,
    session: Session,
    refusal: errors.Violation,
    sid: bytes,
    subject: bytes,
    queue: bytes | None,
) -> None:
    assert refusal.wire_text is not None
    session.connection.outbox.write(b"-ERR '" + refusal.wire_text + b"'\r\n")
    denied = refusal.wire_text.startswith(b"Permissions")
    context.note_of(
        session,
        Level.ERROR if denied else Level.DEBUG,
        "subscription_violation" if denied else "subscription_refused",
        subject=subject,
        queue=queue,
        sid=sid,
        text=refusal.wire_text,
    )


def _refusal_of(
    context: Context,
    rules: SubscribeRules | None,
    subject: bytes,
    queue: bytes | None,
    held: int,
    limit: int,
) -> errors.Violation | None:
    """Why a SUB is refused before its subject is looked at, in the order of section 8.1."""
    if queue == _RESERVED_QUEUE or (rules is not None and not rules.permit(subject, queue)):
        return errors.subscription_denied(subject, queue)
    tokens_max = context.options.max_subject_tokens
    if tokens_max and subject.count(b".") + 1 > tokens_max:
        return errors.too_many_tokens(subject)
    if limit and held >= limit:
        return errors.subscriptions_exceeded()
    return None


def answer_ping(context: Context, session: Session, ops: Ops) -> Iterator[Fact]:
    """PING: a PONG, and behind the first one after CONNECT the INFO of the connection (section 19.1).

    That first one may pass without INFO, to a client that does not understand it (protocol 0); then a
    later CONNECT does not bring it back.
    """
    connection = session.connection
    connection.outbox.write(b"PONG\r\n")
    if connection.source.first_ping_due:
        session.pong_sent = True
        connection.source.first_ping_due = False
        if connection.options.protocol >= 1:
            account = connection.account.name
            connection.outbox.write(
                encode_info(context.info, connection.cid, connection.remote.host, account=account)
            )
    yield from ()


def note_pong(context: Context, session: Session, ops: Ops) -> Iterator[Fact]:
    """PONG: nothing is outstanding any more, and the round trip is known (section 14)."""
    session.pings_out = 0
    if session.ping_sent_ns is not None:
        now = context.at.monotonic_ns
        session.rtt_ns = now - session.ping_sent_ns
        session.rtt_at_ns = now
        session.ping_sent_ns = None
    yield from ()


def ignore_info(context: Context, session: Session, ops: Ops) -> Iterator[Fact]:
    """INFO from a client: of no meaning, but it must be JSON (section 2.3)."""
    ((_, (document,)),) = ops
    if not is_json(document):
        raise errors.malformed()
    yield from ()


def login_timer(context: Context, session: Session) -> None:
    """A client did not log in in time. Raises Violation."""
    context.note_of(session, Level.DEBUG, "authentication_timeout")
    raise errors.authentication_timeout()


def ping_timer(context: Context, session: Session) -> None:
    """The ping timer came due: ping, or give up on a connection that does not answer (section 14).

    A PING is due when the round trip was not measured within the last hour, or
    when nothing was heard for an interval.
    """
    connection = session.connection
    now = context.at.monotonic_ns
    interval = context.options.ping_interval_ns
    measured = session.rtt_at_ns is not None and now - session.rtt_at_ns < _RTT_AGE_NS
    if not measured or now - session.heard_ns >= interval:
        if session.pings_out + 1 > context.options.ping_max:
            raise errors.stale_connection()
        session.pings_out += 1
        session.ping_sent_ns = now
        connection.outbox.write(b"PING\r\n")
    context.deadlines.set((connection.cid, Timer.PING), now + interval)


def _arm_first_ping(context: Context, session: Session) -> None:
    delay = min(context.options.ping_interval_ns, _FIRST_PING_NS)
    delay += context.entropy.jitter.pick(max(delay // 5, 1))
    context.deadlines.set((session.connection.cid, Timer.PING), context.at.monotonic_ns + delay)
