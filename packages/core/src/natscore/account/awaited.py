"""Replies that services owe: who waits for what, and until when (accounts.md sections 6.3 to 6.6).

A request that crosses into the account of a service gets a reply subject that only this
server knows, and a `Response` remembers where an answer to it goes:

    requester's account          exporter's account
    PUB svc inbox.1     ──►      MSG svc _R_.yE3xTf.3VBL5n
    MSG inbox.1         ◄──      PUB _R_.yE3xTf.3VBL5n

A response ends when it is answered (a singleton), when a stream of answers ends, when nobody
wants it any more, when the service was silent for its threshold, or when it is the oldest of
too many. Names of accounts and exports are values, so what is awaited outlives the accounts
it was made of.

This is traffic state: it is changed by messages and by time, never by a fact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from natscore.account.settings import ResponseType
from natscore.deadlines import Deadlines
from natscore.subject import REST, STAR, has_wildcard, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from natscore.account.settings import ServiceExport

__all__ = ["AwaitedResponses", "ExportKey", "Response"]

ExportKey: TypeAlias = tuple[str, bytes]
"""Account and subject: which export."""


class Response:
    """What is awaited on one reply subject, and where it goes."""

    __slots__ = (
        "account", "active_ns", "export", "is_open", "is_singleton", "key", "reply", "requester", "share",
        "subject",
    )  # fmt: skip

    def __init__(
        self,
        subject: bytes,
        account: str,
        reply: bytes,
        requester: str,
        *,
        key: ExportKey,
        export: ServiceExport,
        share: bool,
        now_ns: int,
    ) -> None:
        self.subject: Final = subject
        self.account: Final = account  # where it is answered
        self.reply: Final = reply
        self.requester: Final = requester  # where the answer goes
        self.key: Final = key
        self.export: Final = export
        self.share: Final = share
        self.is_singleton: Final = export.response_type is ResponseType.SINGLETON
        self.active_ns = now_ns  # when it was made, or answered last
        self.is_open = True


class AwaitedResponses:
    """All responses that a server awaits.

    Args:
        account_max: how many in one account, which answers them.
        export_max: how many of one export.
    """

    __slots__ = ("_answers", "_due", "_exports", "_limits", "_replies", "displaced")

    def __init__(self, account_max: int, export_max: int) -> None:
        self._limits: Final = (account_max, export_max)
        self._answers: dict[str, dict[bytes, Response]] = {}
        # of each export, those that were silent for longest come first
        self._exports: dict[ExportKey, dict[Response, None]] = {}
        # of each requesting account: its replies, by what stands before their last dot
        self._replies: dict[str, dict[bytes, dict[bytes, dict[Response, None]]]] = {}
        self._due: Deadlines[ExportKey] = Deadlines()
        self.displaced = 0  # how many went because there were too many

    def __len__(self) -> int:
        return sum(map(len, self._exports.values()))

    def find(self, account: str, subject: bytes) -> Response | None:
        """What is awaited on a subject."""
        answers = self._answers.get(account)
        return answers.get(subject) if answers is not None else None

    def add(self, response: Response) -> list[Response]:
        """Await a response, whose subject is new. Answers which ones had to go for it."""
        answers = self._answers.setdefault(response.account, {})
        assert response.subject not in answers
        of_export = self._exports.setdefault(response.key, {})
        account_max, export_max = self._limits
        gone = []
        if len(answers) >= account_max:
            gone.append(next(iter(answers.values())))
        elif len(of_export) >= export_max:
            gone.append(next(iter(of_export)))
        for oldest in gone:
            self.displaced += 1
            self._forget(oldest)
        answers = self._answers.setdefault(response.account, answers)
        of_export = self._exports.setdefault(response.key, of_export)
        if not of_export:
            self._due.set(response.key, response.active_ns + response.export.threshold_ns)
        answers[response.subject] = response
        of_export[response] = None
        prefixes = self._replies.setdefault(response.requester, {})
        prefix = response.reply.rpartition(b".")[0]
        prefixes.setdefault(prefix, {}).setdefault(response.reply, {})[response] = None
        return gone

    def refresh(self, response: Response, now_ns: int) -> None:
        """One answer of several has come."""
        if response.is_open:
            response.active_ns = now_ns
            of_export = self._exports[response.key]
            del of_export[response]
            of_export[response] = None

    def remove(self, response: Response) -> bool:
        """Await it no more. False: it is over already."""
        if response.is_open:
            self._forget(response)
            return True
        return False

    def next_due(self) -> int | None:
        """When the first export may have been silent for too long."""
        return self._due.next()

    def expired(self, now_ns: int) -> Iterator[Response]:
        """Take out, one by one, what was silent for the threshold of its export."""
        while (key := self._due.due(now_ns)) is not None:
            of_export = self._exports.get(key, {})
            while of_export:
                first = next(iter(of_export))
                due = first.active_ns + first.export.threshold_ns
                if due > now_ns:
                    self._due.set(key, due)
                    break
                self._due.set(key, now_ns)  # looked at again, should nobody take the next one
                self._forget(first)
                yield first

    def awaits_replies(self, account: str) -> bool:
        """Whether something was asked in an account that is not answered yet."""
        return account in self._replies

    def replies(self, account: str, pattern: bytes) -> Iterator[bytes | None]:
        """The replies that were asked for in an account and match a pattern, None for a step without any.

        They are looked for while they are taken; what is removed meanwhile is not found.
        Cost: one step for each reply that has the pattern's first tokens, if the
        pattern ends with its only wildcard, `*`; else one step for each reply.
        """
        prefixes = self._replies.get(account, {})
        head, _, last = pattern.rpartition(b".")
        if not has_wildcard(pattern):
            if pattern in prefixes.get(head, ()):
                yield pattern
            return
        if last == STAR and not has_wildcard(head):
            for reply in list(prefixes.get(head, ())):
                yield reply if reply in prefixes.get(head, ()) else None
            return
        for prefix in list(prefixes):
            if last != REST and prefix.count(b".") != head.count(b"."):
                yield None
                continue
            for reply in list(prefixes.get(prefix, ())):
                yield reply if matches(pattern, reply) and reply in prefixes.get(prefix, ()) else None

    def of_reply(self, account: str, reply: bytes) -> list[Response]:
        """Everything awaited whose answer goes to one reply subject."""
        prefixes = self._replies.get(account, {})
        return list(prefixes.get(reply.rpartition(b".")[0], {}).get(reply, ()))

    def _forget(self, response: Response) -> None:
        response.is_open = False
        answers = self._answers[response.account]
        del answers[response.subject]
        if not answers:
            del self._answers[response.account]
        of_export = self._exports[response.key]
        del of_export[response]
        if not of_export:
            del self._exports[response.key]
            self._due.cancel(response.key)
        prefixes = self._replies[response.requester]
        prefix = response.reply.rpartition(b".")[0]
        replies = prefixes[prefix]
        waiting = replies[response.reply]
        del waiting[response]
        if not waiting:
            del replies[response.reply]
            if not replies:
                del prefixes[prefix]
                if not prefixes:
                    del self._replies[response.requester]
