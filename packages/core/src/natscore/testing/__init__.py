"""A simulated world for servers, for the core's own tests and for its users'.

`World` has a virtual clock and a seeded network; nothing in it touches a
socket, a thread or the time of day. `natscore.testing.fixtures` brings pytest
fixtures for real servers.
"""

from natscore.testing.client import ScriptedClient
from natscore.testing.paired import PairedDataPlane
from natscore.testing.pairs import PlanesDisagree
from natscore.testing.world import InvariantBroken, SimulatedServer, World

__all__ = [
    "InvariantBroken", "PairedDataPlane", "PlanesDisagree", "ScriptedClient", "SimulatedServer", "World",
]  # fmt: skip
