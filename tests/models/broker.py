"""A broker that reads one op at a time and delivers one message at a time.

The twin of the parser, the data plane and the client's handlers together. It is
given the bytes of each connection in turn, keeps what is incomplete, and looks
at it again from its first byte when more has come. Nothing is remembered
between two messages: who gets one is found by walking a list. Its output must be
that of the server to the byte, the choice of queue members included, whose draw
the specification fixes: xorshift64 with the shifts 13, 7 and 17,
`pick(n) = (x >> 32) * n >> 32`, drawn once per message and group with more than
one member.

Left out: logins, time, slow consumers. Source: client-protocol.md sections 2, 3,
6 to 10 and 19.1.
"""

from __future__ import annotations

import json
from typing import Any, Final

from tests.models.interest import NO_QUEUE, Interest, InterestTable

__all__ = ["Broker", "Client", "Draws"]

NAMES: Final = (b"CONNECT", b"INFO", b"SUB", b"UNSUB", b"PUB", b"HPUB", b"PING", b"PONG", b"+OK", b"-ERR")
REST_OF_LINE_IGNORED: Final = (b"PING", b"PONG", b"+OK")
BLANK_NOT_NEEDED: Final = (b"CONNECT", b"INFO", *REST_OF_LINE_IGNORED)
BLANKS: Final = b" \t"
DIGITS: Final = b"0123456789"

INCOMPLETE: Final = 0

BOOLS: Final = ("verbose", "pedantic", "tls_required", "echo", "headers", "no_responders", "new_account")
STRINGS: Final = (
    *("auth_token", "user", "pass", "nkey", "sig", "jwt", "name", "lang", "version"),
    *("account", "remote_account", "proxy_sig"),
)  # fmt: skip
OBJECTS: Final = ("import", "export")


class Draws:
    """The generator of queue choices."""

    def __init__(self, seed: int) -> None:
        self.x = seed

    def pick(self, n: int) -> int:
        self.x = (self.x ^ (self.x << 13)) % 2**64
        self.x = self.x ^ (self.x >> 7)
        self.x = (self.x ^ (self.x << 17)) % 2**64
        return ((self.x >> 32) * n) >> 32


class Ended(Exception):
    """The connection ends: what it is told, and the reason."""

    def __init__(self, text: bytes | None, reason: str) -> None:
        super().__init__(text, reason)
        self.text = text
        self.reason = reason


def unknown_operation() -> Ended:
    return Ended(b"Unknown Protocol Operation", "Protocol Violation")


def silent() -> Ended:
    return Ended(None, "Protocol Violation")


class Client:
    """One connection: what it said of itself, what it wants, what it was sent."""

    def __init__(self, second_info: bytes) -> None:
        self.second_info = second_info  # what follows the first PONG
        self.sent = bytearray()
        self.rest = b""
        self.is_open = True
        self.close_reason: str | None = None
        self.options: dict[str, Any] = {
            "verbose": True,
            "pedantic": True,
            "echo": True,
            "headers": False,
            "no_responders": False,
            "protocol": 0,
            "account": "",
            "new_account": False,
        }
        self.wants: dict[bytes, Interest] = {}
        self.connected = False
        self.was_ponged = False
        self.messages_in = self.bytes_in = self.messages_out = self.bytes_out = 0

    def say(self, text: bytes) -> None:
        self.sent += b"-ERR '" + text + b"'\r\n"

    def ok(self) -> None:
        if self.options["verbose"]:
            self.sent += b"+OK\r\n"


class Broker:
    """A server without logins."""

    def __init__(
        self,
        seed: int,
        *,
        max_control_line: int = 4096,
        max_payload: int = 1_048_576,
        max_subscriptions: int = 0,
        max_subject_tokens: int = 0,
        headers: bool = True,
    ) -> None:
        self.draws = Draws(seed)
        self.table = InterestTable()
        self.max_control_line = max_control_line
        self.max_payload = max_payload
        self.max_subscriptions = max_subscriptions
        self.max_subject_tokens = max_subject_tokens
        self.headers = headers

    def receive(self, client: Client, data: bytes) -> None:
        """Bytes of one connection: do every op that is complete."""
        if not client.is_open:
            return
        client.rest += data
        try:
            while client.rest:
                used = self._one_op(client, client.rest)
                if used == INCOMPLETE:
                    break
                client.rest = client.rest[used:]
        except Ended as ended:
            if ended.text is not None:
                client.say(ended.text)
            self.end(client, ended.reason)

    def end(self, client: Client, reason: str) -> None:
        """A connection is gone, and all it wanted."""
        client.is_open = False
        client.close_reason = reason
        client.rest = b""
        self._forget_interest(client)

    # -- reading -----------------------------------------------------------------------------------

    def _one_op(self, client: Client, data: bytes) -> int:
        """Do the first op of `data`; how long it was, or INCOMPLETE."""
        name = _name(data)
        if name is None:
            return INCOMPLETE
        behind_name = data[len(name) :]
        if name not in BLANK_NOT_NEEDED:
            if not behind_name:
                return INCOMPLETE
            if behind_name[0] not in BLANKS:
                raise unknown_operation()
        line, newline, _ = behind_name.partition(b"\n")
        used = len(name) + len(line) + len(newline)
        if name in REST_OF_LINE_IGNORED:
            if not newline:
                return INCOMPLETE
            if name == b"PING":
                self._ping(client)
            return used
        if line.endswith(b"\r"):
            line = line[:-1]
        argument = line.lstrip(BLANKS)
        if len(argument) > self.max_control_line:
            raise Ended(b"maximum control line exceeded", "Maximum Control Line Exceeded")
        if not newline:
            return INCOMPLETE
        if name == b"CONNECT":
            self._connect(client, argument)
        elif name == b"INFO":
            _parsed(argument)
        elif name == b"-ERR":
            raise Ended(None, "Parse Error")
        elif name == b"SUB":
            self._sub(client, _words(argument, BLANKS + b"\r"))
        elif name == b"UNSUB":
            self._unsub(client, _words(argument, BLANKS + b"\r"))
        else:
            return self._publication(client, name, argument, data, used)
        return used

    def _publication(self, client: Client, name: bytes, argument: bytes, data: bytes, body_at: int) -> int:
        words = _words(argument, BLANKS)
        sizes = 2 if name == b"HPUB" else 1
        # A CR within the line is refused: the specification allows it no meaning.
        if not 1 + sizes <= len(words) <= 2 + sizes or b"\r" in argument:
            raise silent()
        if name == b"HPUB" and not self._takes_headers(client):
            raise silent()
        numbers = [_number(word) for word in words[-sizes:]]
        if -1 in numbers or numbers[0] > numbers[-1]:
            raise silent()
        size = numbers[-1]
        if size > self.max_payload:
            raise Ended(b"Maximum Payload Violation", "Maximum Message Payload Exceeded")
        content = data[body_at : body_at + size + 2]
        if len(content) < size + 2:
            return INCOMPLETE
        if content[size:] != b"\r\n":
            raise unknown_operation()
        subject, *reply = words[:-sizes]
        self._publish(
            client,
            subject,
            reply[0] if reply else b"",
            words[-sizes:],
            content[: numbers[0]] if name == b"HPUB" else b"",
            content[:size],
        )
        return body_at + size + 2

    # -- what a client asks for --------------------------------------------------------------------

    def _ping(self, client: Client) -> None:
        client.sent += b"PONG\r\n"
        if client.connected and not client.was_ponged:
            client.was_ponged = True
            if client.options["protocol"] == 1:
                client.sent += client.second_info

    def _connect(self, client: Client, document: bytes) -> None:
        said = dict(client.options)
        pairs = _parsed(document)
        if pairs is not None:
            if not isinstance(pairs, Pairs):
                raise silent()
            for key, value in pairs.pairs:
                _take(said, key.lower(), value)
        if said["account"] or said["new_account"]:
            raise Ended(b"Authorization Violation", "Authentication Failure")
        if client.connected:  # what was subscribed before the first CONNECT stands
            self._forget_interest(client)
        client.options = said
        client.connected = True
        if said["protocol"] not in (0, 1):
            raise Ended(b"invalid client protocol", "Bad Client Protocol Version")
        if said["no_responders"] and not self._takes_headers(client):
            raise Ended(b"no responders requires headers support", "No Responders Requires Headers")
        client.ok()

    def _sub(self, client: Client, words: list[bytes]) -> None:
        if len(words) not in (2, 3):
            raise silent()
        subject, sid = words[0], words[-1]
        queue = words[1] if len(words) == 3 else NO_QUEUE
        tokens = subject.split(b".")
        denied = b"Permissions Violation for Subscription to " + _quoted(subject)
        if queue == b"_sys_":
            client.say(denied + b' using queue "_sys_"')
            return
        if self.max_subject_tokens and len(tokens) > self.max_subject_tokens:
            client.say(denied + b", too many tokens")
            return
        if self.max_subscriptions and len(client.wants) >= self.max_subscriptions:
            client.say(b"maximum subscriptions exceeded")
            return
        if sid not in client.wants:
            if b"" in tokens or b">" in tokens[:-1]:
                client.say(b"Invalid Subject")
                return
            client.wants[sid] = interest = Interest(subject, queue, sid, client)
            self.table.add(interest)
        client.ok()

    def _unsub(self, client: Client, words: list[bytes]) -> None:
        if len(words) not in (1, 2):
            raise silent()
        interest = client.wants.get(words[0])
        if interest is not None:
            maximum = _number(words[1]) if len(words) == 2 else 0
            if maximum > interest.delivered:
                interest.max = maximum
            else:
                self._forget(client, interest)
        client.ok()

    # -- delivery ----------------------------------------------------------------------------------

    def _publish(
        self,
        client: Client,
        subject: bytes,
        reply: bytes,
        sizes: list[bytes],
        header: bytes,
        content: bytes,
    ) -> None:
        client.messages_in += 1
        client.bytes_in += len(content)
        tokens = subject.split(b".")
        if client.options["pedantic"] and (b"" in tokens or b"*" in tokens or b">" in tokens):
            client.say(b"Invalid Publish Subject")
        if subject.startswith((b"_GR_.", b"$NRG.")):
            client.say(b"Permissions Violation for Publish to " + _quoted(subject))
            return
        reserved = reply.startswith(b"_R_.")
        for prefix in (b"$JS.ACK.", b"_GR_."):
            reserved = reserved or (reply.startswith(prefix) and reply != prefix)
        if reserved:
            client.say(b"Permissions Violation for Publish with Reply of " + _quoted(reply))
            return
        client.ok()
        message = (subject, reply, sizes, header, content)
        matched = self.table.match(subject)
        deliveries = 0
        for interest in matched.plain:
            deliveries += self._deliver(client, interest, message)
        for _, members in matched.groups:
            first = self.draws.pick(len(members)) if len(members) > 1 else 0
            for member in members[first:] + members[:first]:
                if self._deliver(client, member, message):
                    deliveries += 1
                    break
        if deliveries == 0 and reply and client.options["no_responders"]:
            self._no_responders(client, subject, reply)

    def _deliver(
        self,
        publisher: Client,
        interest: Interest,
        message: tuple[bytes, bytes, list[bytes], bytes, bytes],
    ) -> bool:
        """Send one message to one subscription, unless it is the publisher's own and unwanted."""
        receiver = interest.connection
        assert isinstance(receiver, Client)
        if receiver is publisher and not publisher.options["echo"]:
            return False
        subject, reply, sizes, header, content = message
        words = [b"MSG", subject, interest.sid]
        if reply:
            words.append(reply)
        if header and self._takes_headers(receiver):
            words[0] = b"HMSG"
            words += sizes
        elif len(sizes) == 2:
            content = content[len(header) :]
            words.append(str(len(content)).encode())
        else:
            words += sizes
        receiver.sent += b" ".join(words) + b"\r\n" + content + b"\r\n"
        receiver.messages_out += 1
        receiver.bytes_out += len(content)
        interest.delivered += 1
        if interest.delivered == interest.max:
            self._forget(receiver, interest)
        return True

    def _no_responders(self, client: Client, subject: bytes, reply: bytes) -> None:
        for interest in self.table.match(reply).plain:
            if interest.connection is client:
                header = b"NATS/1.0 503\r\nNats-Subject: " + subject + b"\r\n\r\n"
                size = str(len(header)).encode()
                client.sent += b" ".join([b"HMSG", reply, interest.sid, size, size]) + b"\r\n"
                client.sent += header + b"\r\n"
                return

    # -- state -------------------------------------------------------------------------------------

    def _takes_headers(self, client: Client) -> bool:
        return bool(self.headers and client.options["headers"])

    def _forget(self, client: Client, interest: Interest) -> None:
        del client.wants[interest.sid]
        self.table.remove(interest)

    def _forget_interest(self, client: Client) -> None:
        for interest in list(client.wants.values()):
            self._forget(client, interest)


def _name(data: bytes) -> bytes | None:
    """The op that `data` begins with; None while that cannot be told."""
    for name in NAMES:
        if data[: len(name)].upper() == name:
            return name
    if any(name.startswith(data.upper()) for name in NAMES):
        return None
    raise unknown_operation()


def _words(argument: bytes, separators: bytes) -> list[bytes]:
    words = [b""]
    for byte in argument:
        if byte in separators:
            words.append(b"")
        else:
            words[-1] += bytes([byte])
    return [word for word in words if word]


def _number(word: bytes) -> int:
    """The value of one to nine digits, and -1 for anything else."""
    if not 1 <= len(word) <= 9:
        return -1
    value = 0
    for byte in word:
        if byte not in DIGITS:
            return -1
        value = value * 10 + DIGITS.index(byte)
    return value


def _quoted(subject: bytes) -> bytes:
    """Between quotes, for what programs send: printable text, a vertical tab, bytes that are not UTF-8."""
    text = subject.decode("utf-8", "backslashreplace").replace("\v", "\\v")
    return b'"' + text.encode() + b'"'


class Pairs:
    """A JSON object as it was written, duplicates included."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _parsed(document: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(document.decode("utf-8", "replace"), object_pairs_hook=Pairs, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise silent() from None


def _take(said: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        return
    if key in BOOLS:
        fits = isinstance(value, bool)
    elif key in STRINGS:
        fits = isinstance(value, str)
    elif key in OBJECTS:
        fits = isinstance(value, Pairs)
    elif key == "protocol":
        fits = type(value) is int and -(2**63) <= value < 2**63
    else:
        return
    if not fits:
        raise silent()
    said[key] = value
