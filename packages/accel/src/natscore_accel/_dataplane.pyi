"""What the compiled module promises: `DataPlane` of natscore, and nothing beyond."""

from natscore.dataplane import DataPlane
from natscore.entropy import Xorshift64

def CompiledDataPlane(choices: Xorshift64) -> DataPlane: ...
