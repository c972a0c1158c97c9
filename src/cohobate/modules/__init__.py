"""Parts that methods share."""

from cohobate.modules.branch import Branch
from cohobate.modules.discriminator import Discriminator
from cohobate.modules.exits import Exits
from cohobate.modules.frozen import EMA, Frozen, frozen_keys

__all__ = ["EMA", "Branch", "Discriminator", "Exits", "Frozen", "frozen_keys"]
