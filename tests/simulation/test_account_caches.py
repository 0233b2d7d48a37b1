"""What one account does to its memory of subjects costs no other account its own."""

from __future__ import annotations

import json
from typing import Final

import pytest

from natscore.authentication import Accept, Login, Verdict
from natscore.testing import ScriptedClient, SimulatedServer, World

FLOODED_SUBJECTS: Final = 1_000_000
ROUNDS: Final = 1_000
USED_SUBJECTS: Final = 100
HITS_MIN: Final = 0.99

STEPS_OF_A_MATCH: Final = 2  # a subject of two tokens, in a trie of one pattern


class AccountOfUser:
    """Everybody belongs to the account that is called as the user is."""

    requires_login = True
    checks_signatures = False
    admits_anonymous = False
    announces_login = True

    def authenticate(self, login: Login) -> Verdict:
        return Accept(login.said.user)


def client_of(server: SimulatedServer, account: str) -> ScriptedClient:
    client = server.connect()
    said = {"verbose": False, "user": account, "pass": "any"}
    client.send(b"CONNECT " + json.dumps(said).encode() + b"\r\n")
    client.take()
    return client


@pytest.mark.slow
def test_flood_of_new_subjects_in_one_account_leaves_another_its_hits() -> None:
    world = World(recording=False)
    server = world.server(authenticator=AccountOfUser())
    client_of(server, "FLOODED").send(b"SUB new.* 1\r\n")
    listener = client_of(server, "QUIET")
    listener.send(b"SUB used.* 1\r\n")
    flooding, working = client_of(server, "FLOODED"), client_of(server, "QUIET")
    used = b"".join(b"PUB used.%d 0\r\n\r\n" % number for number in range(USED_SUBJECTS))
    flooded, quiet = (server.state.accounts[name].sublist for name in ("FLOODED", "QUIET"))
    flooded_before, quiet_before = flooded.steps, quiet.steps

    for first in range(0, FLOODED_SUBJECTS, FLOODED_SUBJECTS // ROUNDS):
        numbers = range(first, first + FLOODED_SUBJECTS // ROUNDS)
        flooding.send(b"".join(b"PUB new.%d 0\r\n\r\n" % number for number in numbers))
        working.send(used)

    messages = ROUNDS * USED_SUBJECTS
    misses = (quiet.steps - quiet_before) / STEPS_OF_A_MATCH
    # the first one was matched again when there was a plan for it
    assert (flooded.steps - flooded_before) / STEPS_OF_A_MATCH == FLOODED_SUBJECTS + 1
    assert misses >= USED_SUBJECTS  # the first time of each: what is counted are matches
    assert 1 - misses / messages >= HITS_MIN
    assert listener.take().count(b"MSG used.") == messages
