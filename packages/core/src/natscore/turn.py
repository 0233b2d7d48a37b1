"""What work weighs in a turn, in bytes of output (ADR 7).

A turn ends when it has written, or done the equivalent of, `turn_output_max`
bytes. A unit is about a nanosecond: 16 MiB of output to one receiver take the
kernel less, and the shell's system calls, pure Python and log lines are weighed
by their time. Measured, not derived; what each stands for matters more than its
last digit.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CHOICE_STEPS",
    "DELIVERY_COST",
    "DRAW_COST",
    "FILTER_COST",
    "OP_COST",
    "PART_MAX",
    "READY_COST",
    "RECEIVERS_MAX",
    "RULE_COST",
    "RUN_COST",
    "SERVICE_COST",
    "SHADOWS_MAX",
    "SHADOW_COST",
    "SINGLE_COST",
    "STEP_COST",
    "WITHDRAW_MAX",
]

RUN_COST: Final = 16  # a delivery in a run of messages, beside its output
DRAW_COST: Final = 128  # a message of a run and a queue group: a run is divided among all groups at once
DELIVERY_COST: Final = 128  # a receiver looked at by itself
SINGLE_COST: Final = 1_024  # a message, or a delivery, that goes by itself
STEP_COST: Final = 256  # a place looked at while matching
CHOICE_STEPS: Final = 12  # a destination drawn and a subject made, in such places
FILTER_COST: Final = 512  # a receiver with a filter, when a plan is made
RULE_COST: Final = 1_024  # a denial compared with a subject for whoever is subscribed more broadly
OP_COST: Final = 8_192  # an op of the control plane, or a subscription removed
SERVICE_COST: Final = 16_384  # a message carried into another account by the control plane
SHADOW_COST: Final = 8_192  # a shadow of a subscription, in another account, made or removed
READY_COST: Final = 8_192  # an outbox that has something to write: a system call, whatever its size

# Receivers of one message that are served in one turn. Each costs the shell a system call, so that it is
# they, and not the bytes, that would make a turn long.
RECEIVERS_MAX: Final = 1_024

# ... and bytes of one message that go out in one turn, all receivers together, whom the kernel copies them
# for: 1 MiB takes it 0.1 to 0.3 ms each.
PART_MAX: Final = 8_388_608

SHADOWS_MAX: Final = 2_048  # imports compared with subscriptions in one fact
WITHDRAW_MAX: Final = 2_048  # subscriptions of one connection removed in one step of a turn
