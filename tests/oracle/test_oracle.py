"""The server agrees with the specification about permissions, and disagrees once a bug is planted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from natscore import plan, sublist
from natscore.account import permissions
from natscore.account.imports import ImportedStream, Renaming
from natscore.account.permissions import Rules, SubscribeRules
from natscore.dataplane import PureDataPlane
from natscore.responses import Responses
from natscore.state import Account
from natscore.subject import has_wildcard, matches
from natscore.transform import ImportTransform
from tests.oracle.cases import PUBLISHED
from tests.oracle.judging import Disagreement, Path, judge
from tests.oracle.rules import Import, User, covers, is_about

if TYPE_CHECKING:
    from collections.abc import Callable

    from natscore.cells import Shadow, Source, Subscription
    from natscore.entropy import Xorshift64
    from natscore.plan import Group
    from natscore.plane import DataPlane, Filter, SubjectTable

CASES: Final = 20_000


@pytest.mark.slow
@pytest.mark.every_plane
@pytest.mark.spec(
    *("client-protocol 18.2", "client-protocol 18.3", "client-protocol 18.4", "client-protocol 18.5"),
    *("accounts 5.1", "accounts 5.2", "accounts 18:4"),
)
@pytest.mark.parametrize("path", Path)
def test_the_server_does_what_the_specification_says_of_permissions(
    data_plane: Callable[[Xorshift64], DataPlane], path: Path
) -> None:
    judged = judge(CASES, data_plane, path=path)

    assert judged.cases >= CASES
    assert judged.messages > CASES  # else hardly anything was tried
    assert judged.deliveries > CASES
    assert judged.responses > CASES // 50
    assert judged.imported > CASES // 2 or path is Path.LOCAL


def test_the_oracle_matches_as_the_table_of_the_specification_does() -> None:
    assert [one for one in (b"foo.*", b"foo.>", b">", b"*.*", b"foo.bar") if covers(one, b"foo.*")] == [
        b"foo.*", b"foo.>", b">", b"*.*",
    ]  # fmt: skip
    assert covers(b"foo.*", b"foo.>")
    assert not covers(b">", b"foo..bar")
    assert is_about(b"v.*", b"v.1")
    assert not is_about(b"v.*", b"v.>")
    assert len({*PUBLISHED}) == 4 + 16 + 64 + 3


@pytest.mark.spec("accounts 5.1", "accounts 5.2")
@pytest.mark.parametrize(
    ("subject", "to", "published", "name"),
    [
        (b"s.>", b"from.a.s.>", b"s.x.y", b"from.a.s.x.y"),
        (b"s.*.*", b"loc.$2.$1", b"s.one.two", b"loc.two.one"),
        (b"s.*.>", b"$1.>", b"s.a.b.c", b"a.b.c"),
        (b"s.x", b"y", b"s.x", b"y"),
        (b"s.>", b"s.>", b"s", None),
        (b"s.*", b"$1.$1", b"s.a.b", None),
    ],
)
def test_the_oracle_names_what_is_imported_as_the_examples_do(
    subject: bytes, to: bytes, published: bytes, name: bytes | None
) -> None:
    assert Import("B", "A", subject, to).name(published) == name


@pytest.mark.parametrize(
    ("allow", "deny", "verdicts"),
    [
        ([b"foo"], [], "111"),
        ([b"foo v1"], [], "010"),
        ([b"foo", b"foo v1"], [], "110"),
        ([b"foo"], [b"foo v1"], "101"),
    ],
)
def test_the_oracle_judges_as_the_table_of_the_specification_does(
    allow: list[bytes], deny: list[bytes], verdicts: str
) -> None:
    def entries(words: list[bytes]) -> tuple[tuple[bytes, bytes | None], ...]:
        return tuple((word.split()[0], word.split()[1] if b" " in word else None) for word in words)

    user = User(None, (), entries(allow), entries(deny))

    assert "".join(str(int(user.may_subscribe(b"foo", queue))) for queue in (None, b"v1", b"v2")) == verdicts


# -- planted bugs ----------------------------------------------------------------------------------


def without_queues(rules: SubscribeRules) -> SubscribeRules:
    return SubscribeRules(rules.allow, tuple(entry for entry in rules.deny if entry[1] is None))


def plant_queue_denials_ignored_at_sub(patch: pytest.MonkeyPatch) -> None:
    permit = SubscribeRules.permit
    patch.setattr(
        SubscribeRules, "permit", lambda self, subject, queue: permit(without_queues(self), subject, queue)
    )


def plant_queue_denials_ignored_at_delivery(patch: pytest.MonkeyPatch) -> None:
    make = SubscribeRules.filter_for
    patch.setattr(
        SubscribeRules, "filter_for", lambda self, subject, queue: make(without_queues(self), subject, queue)
    )


def plant_queue_denials_that_replace_the_plain_ones(patch: pytest.MonkeyPatch) -> None:
    """What nats-server 2.9 does."""
    permit = SubscribeRules.permit

    def replacing(rules: SubscribeRules, subject: bytes, queue: bytes | None) -> bool:
        if queue is not None and any(one[1] is not None and matches(one[0], subject) for one in rules.deny):
            deny = tuple(entry for entry in rules.deny if entry[1] is not None)
            return permit(SubscribeRules(rules.allow, deny), subject, queue)
        return permit(rules, subject, queue)

    patch.setattr(SubscribeRules, "permit", replacing)


def plant_overlap_taken_for_subset(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(permissions, "overlap", lambda denied, subject: matches(subject, denied))


def plant_queue_subscriptions_without_a_filter(patch: pytest.MonkeyPatch) -> None:
    make = SubscribeRules.filter_for
    patch.setattr(
        SubscribeRules,
        "filter_for",
        lambda self, subject, queue: make(self, subject, queue) if queue is None else None,
    )


def plant_an_empty_allow_list_taken_for_none(patch: pytest.MonkeyPatch) -> None:
    take = Account.take_table
    patch.setattr(
        Account, "take_table", lambda self, rules: take(self, Rules(rules.allow or None, rules.deny))
    )


def plant_an_empty_allow_list_of_subscriptions_taken_for_none(patch: pytest.MonkeyPatch) -> None:
    permit = SubscribeRules.permit
    patch.setattr(
        SubscribeRules,
        "permit",
        lambda self, subject, queue: permit(SubscribeRules(self.allow or None, self.deny), subject, queue),
    )


def plant_denials_of_patterns_ignored(patch: pytest.MonkeyPatch) -> None:
    take = Account.take_table

    def literal(rules: Rules) -> Rules:
        return Rules(rules.allow, tuple(one for one in rules.deny if not has_wildcard(one)))

    patch.setattr(Account, "take_table", lambda self, rules: take(self, literal(rules)))


def plant_one_filter_for_all_messages_of_a_plan(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sublist, "_are_particular", lambda _: False)


def plant_a_group_that_stays_with_its_first_member(patch: pytest.MonkeyPatch) -> None:
    """A message that the member drawn may not have goes to nobody, although another may."""
    named = plan._named

    def drawn(
        some: list[plan.S], subject: bytes, names: dict[Filter, bytes | None], streams: bool
    ) -> dict[tuple[plan.S, bytes], None]:
        is_group = bool(some) and some[0].queue is not None
        return named(some[:1] if is_group else some, subject, names, streams)

    patch.setattr(plan, "_named", drawn)


def plant_one_table_for_all_restricted_users(patch: pytest.MonkeyPatch) -> None:
    first: dict[int, SubjectTable] = {}
    take = Account.take_table

    def shared(account: Account, rules: Rules) -> SubjectTable:
        if rules == Rules():
            return take(account, rules)
        return first.setdefault(id(account), take(account, rules))

    patch.setattr(Account, "take_table", shared)


def plant_responses_that_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Responses, "use", lambda *_: None)


def plant_responses_that_do_not_expire(patch: pytest.MonkeyPatch) -> None:
    permit = Responses.permit
    patch.setattr(Responses, "permit", lambda record, subject, _: permit(record, subject, 0))


def plant_requests_that_use_up_a_response(patch: pytest.MonkeyPatch) -> None:
    """What nats-server 2.14.5 does."""
    note = Responses.note

    def counting(record: Responses, reply: bytes, now_ns: int) -> None:
        if record.permit(reply, now_ns):
            record.use(reply)
        else:
            note(record, reply, now_ns)

    patch.setattr(Responses, "note", counting)


def plant_leave_for_all_members_of_a_group(patch: pytest.MonkeyPatch) -> None:
    draw = PureDataPlane._deliver_to_one

    def noted(
        data_plane: PureDataPlane, source: Source, group: Group[Subscription], *message: Any
    ) -> tuple[bool, int]:
        for member in group.members:
            if member.outbox.responses is not None and message[1].reply:
                member.outbox.responses.note(message[1].reply, data_plane._now_ns)
        return draw(data_plane, source, group, *message)

    patch.setattr(PureDataPlane, "_deliver_to_one", noted)


def plant_leave_that_outlives_a_login(patch: pytest.MonkeyPatch) -> None:
    bind = PureDataPlane.bind

    def keeping(data_plane: PureDataPlane, source: Source, *rights: Any) -> None:
        former = source.outbox.responses
        bind(data_plane, source, *rights)
        if former is not None and source.outbox.responses is not None:
            source.outbox.responses = former

    patch.setattr(PureDataPlane, "bind", keeping)


def plant_denials_ignored_through_imports(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ImportedStream, "renaming", lambda stream, _: stream.unfiltered)


def plant_denials_of_what_the_exporter_calls_it(patch: pytest.MonkeyPatch) -> None:
    def judging(renaming: Renaming, subject: bytes) -> bytes | None:
        if renaming.filter is not None and not renaming.filter.admits(subject):
            return None
        return renaming.transform.to_local(subject)

    patch.setattr(Renaming, "name", judging)


def plant_queue_subscriptions_without_a_filter_through_imports(patch: pytest.MonkeyPatch) -> None:
    cast_shadow = PureDataPlane.shadow

    def unfiltered(
        data_plane: PureDataPlane, receiver: Subscription, subject: bytes, renaming: Renaming
    ) -> Shadow:
        if receiver.queue is not None:
            renaming = Renaming(renaming.transform, renaming.keeps_subjects)
        return cast_shadow(data_plane, receiver, subject, renaming)

    patch.setattr(PureDataPlane, "shadow", unfiltered)


def plant_imports_of_exactly_what_is_subscribed(patch: pytest.MonkeyPatch) -> None:
    """Overlap taken for subset: patterns that meet, and are not within one another, import nothing."""
    shadow = ImportTransform.shadow

    def narrow(transform: ImportTransform, subscription: bytes) -> bytes | None:
        if matches(transform.local, subscription) or matches(subscription, transform.local):
            return shadow(transform, subscription)
        return None

    patch.setattr(ImportTransform, "shadow", narrow)


def plant_one_name_for_all_messages_of_a_plan(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Renaming, "depends_on_subject", False)


def plant_messages_named_as_by_the_exporter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ImportTransform, "to_local", lambda _, subject: subject)


_PLANTED: Final = {
    Path.LOCAL: [
        plant_queue_denials_ignored_at_sub,
        plant_queue_denials_ignored_at_delivery,
        plant_queue_denials_that_replace_the_plain_ones,
        plant_overlap_taken_for_subset,
        plant_queue_subscriptions_without_a_filter,
        plant_an_empty_allow_list_taken_for_none,
        plant_an_empty_allow_list_of_subscriptions_taken_for_none,
        plant_denials_of_patterns_ignored,
        plant_one_filter_for_all_messages_of_a_plan,
        plant_a_group_that_stays_with_its_first_member,
        plant_one_table_for_all_restricted_users,
        plant_responses_that_are_not_counted,
        plant_responses_that_do_not_expire,
        plant_requests_that_use_up_a_response,
        plant_leave_for_all_members_of_a_group,
        plant_leave_that_outlives_a_login,
    ],
    Path.IMPORT: [
        plant_denials_ignored_through_imports,
        plant_denials_of_what_the_exporter_calls_it,
        plant_queue_subscriptions_without_a_filter_through_imports,
        plant_imports_of_exactly_what_is_subscribed,
        plant_one_name_for_all_messages_of_a_plan,
        plant_messages_named_as_by_the_exporter,
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "plant"),
    [(path, plant) for path, plants in _PLANTED.items() for plant in plants],
    ids=lambda one: one.value if isinstance(one, Path) else one.__name__.removeprefix("plant_"),
)
def test_the_oracle_finds_a_planted_bug(
    path: Path, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    with pytest.raises(Disagreement):
        judge(CASES, PureDataPlane, path=path)
