"""Parts that methods share."""

from cohobate.modules.auxiliary import AuxiliaryHeads
from cohobate.modules.banks import Banks
from cohobate.modules.bifpn import BiFPN, PyramidTeacher
from cohobate.modules.branch import Branch
from cohobate.modules.connector import Connector, Connectors, Embeddings
from cohobate.modules.discriminator import Discriminator
from cohobate.modules.exits import Exits
from cohobate.modules.frozen import EMA, Frozen, frozen_keys
from cohobate.modules.memory import Memory, check_memories, memory_keys
from cohobate.modules.swa import SWA

__all__ = [
    "EMA",
    "SWA",
    "AuxiliaryHeads",
    "Banks",
    "BiFPN",
    "Branch",
    "Connector",
    "Connectors",
    "Discriminator",
    "Embeddings",
    "Exits",
    "Frozen",
    "Memory",
    "PyramidTeacher",
    "check_memories",
    "frozen_keys",
    "memory_keys",
]
