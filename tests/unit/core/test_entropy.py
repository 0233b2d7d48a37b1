"""The streams of choices: which numbers, and that none disturbs another."""

from __future__ import annotations

from natscore.entropy import Entropy, Xorshift64


def test_the_generator_is_xorshift_with_13_7_17() -> None:
    generator = Xorshift64(1)

    assert [generator.draw() for _ in range(4)] == [
        1082269761, 1152992998833853505, 11177516664432764457, 17678023832001937445,
    ]  # fmt: skip


def test_a_seed_of_zero_does_not_stop_the_generator() -> None:
    generator = Xorshift64(0)

    assert len({generator.draw() for _ in range(100)}) == 100


def test_a_pick_scales_the_upper_half_of_a_draw() -> None:
    generator, same = Xorshift64(7), Xorshift64(7)

    for n in (1, 2, 3, 1000, 2**32):
        assert generator.pick(n) == (same.draw() >> 32) * n // 2**32


def test_picks_are_in_range_and_even() -> None:
    generator = Xorshift64(5)
    counts = [0, 0, 0]

    for _ in range(3000):
        counts[generator.pick(3)] += 1

    assert all(900 < count < 1100 for count in counts)


def test_equal_seeds_draw_the_same_and_others_do_not() -> None:
    first, same, other = Entropy(1), Entropy(1), Entropy(2)

    assert first.choices.draw() == same.choices.draw() != other.choices.draw()
    assert first.jitter.draw() == same.jitter.draw() != other.jitter.draw()
    assert first.new_id() == same.new_id() != other.new_id()


def test_no_stream_disturbs_another() -> None:
    busy, calm = Entropy(3), Entropy(3)

    for _ in range(10):
        busy.jitter.draw()
        busy.new_id()

    assert busy.choices.draw() == calm.choices.draw()


def test_ids_have_the_size_asked_for_and_never_repeat() -> None:
    entropy = Entropy(2**64 - 1)

    ids = [entropy.new_id(11) for _ in range(1000)]

    assert {len(one) for one in ids} == {11}
    assert len(set(ids)) == 1000
    assert len(entropy.new_id()) == 16
