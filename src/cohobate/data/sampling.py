"""Which images make which batch: a pure function of (seed, epoch)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cohobate.data.draws import generator
from cohobate.data.splits import apportion


def rows_of(rank: int, world: int, count: int) -> range:
    """Which of `count` images process `rank` of `world` scores: every `world`-th.

    Of fewer images than processes each scores all, so that nobody has none, and means over all stay.
    """
    return range(count)[rank::world] if count >= world else range(count)


class Sampler:
    """The batches of an epoch, as rows of the training set.

    targets: (N,) class of each image.
    batch_size: anchors in a batch, over all processes; each process takes an equal slice.
    companions: images of the same class that follow the anchors, as `Batch` describes.
    repeats: the first half of a process's anchors is the second half of those of the batch before;
        in the first batch of an epoch, of the last one of the epoch before.
    classes: how many the data set has, of which the training images may lack some.
    class_weights: how often each class is drawn relative to its share of the images; "balanced"
        draws every class that there are images of equally often.

    Every batch is full. Every image appears at least once an epoch (the order wraps around at its
    end), unless `class_weights` asks for fewer of its class; then each class's images take turns.
    Where batches repeat, that holds of their new halves.

    Raises ValueError where `batch_size` or `class_weights` does not fit the data.
    """

    def __init__(
        self,
        targets: Tensor,
        batch_size: int,
        *,
        companions: int = 0,
        repeats: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        classes: int = 0,
        class_weights: str | Sequence[float] | None = None,
    ):
        if batch_size > len(targets):
            raise ValueError(
                f"data.batch_size={batch_size} is larger than the {len(targets)} training images: "
                f"choose at most {len(targets)}"
            )
        parts = 2 * world if repeats else world
        if batch_size % parts:
            halves = ["half by half"] if repeats else []
            among = " ".join([*halves, *([f"among {world} processes"] if world > 1 else [])])
            raise ValueError(
                f"data.batch_size={batch_size} cannot be divided {among}: "
                f"choose a multiple of {parts}"
            )
        self.targets, self.companions, self.repeats = targets, companions, repeats
        self.fresh = batch_size // 2 if repeats else batch_size  # rows that are new in a batch
        self.seed, self.rank, self.world = seed, rank, world
        self.counts = torch.bincount(targets, minlength=classes)
        self.members = targets.argsort(stable=True)  # rows, grouped by class
        self.starts = self.counts.cumsum(0) - self.counts
        self.quotas = None if class_weights is None else self._quotas(class_weights)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.targets) // self.fresh)

    def rows(self, epoch: int) -> Tensor:
        """This process's part of every batch, (batches, (companions + 1) * batch_size / world)."""
        random = generator(self.seed, epoch)
        anchors = [self._order(random)]
        if self.repeats:
            last = self._order(generator(self.seed, epoch - 1))[-self.fresh :]
            anchors.insert(0, torch.cat([last, anchors[0][: -self.fresh]]))
        blocks = [*anchors]
        for _ in range(self.companions):
            blocks += [self._companion(rows, random) for rows in anchors]
        share = self.fresh // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return torch.cat([block.view(len(self), -1)[:, mine] for block in blocks], 1)

    def _order(self, random: torch.Generator) -> Tensor:
        """The rows that are new in the batches of an epoch, one batch after the other."""
        if self.quotas is not None:
            return self._weighted(self.quotas, random)
        order = torch.randperm(len(self.targets), generator=random)
        return torch.cat([order, order[: len(self) * self.fresh - len(order)]])

    def _companion(self, anchors: Tensor, random: torch.Generator) -> Tensor:
        """Another row of each anchor's class; the anchor itself where it is alone."""
        place = torch.empty_like(self.members)
        place[self.members] = torch.arange(len(self.members))
        targets = self.targets[anchors]
        counts, starts = self.counts[targets], self.starts[targets]
        draws = torch.rand(len(anchors), generator=random, dtype=torch.float64)
        steps = 1 + (draws * (counts - 1)).long()
        return self.members[starts + (place[anchors] - starts + steps) % counts]

    def _quotas(self, class_weights: str | Sequence[float]) -> Tensor:
        """How many rows of each class (C,) an epoch holds."""
        rows = len(self) * self.fresh
        if class_weights == "balanced":
            return apportion((self.counts > 0).double(), rows)
        if isinstance(class_weights, str) or len(class_weights) != len(self.counts):
            raise ValueError(
                f"data.class_weights={class_weights!r} does not fit the data: "
                f'write "balanced" or a list of {len(self.counts)} numbers, one a class'
            )
        weights = torch.tensor(class_weights, dtype=torch.float64)
        shares = weights * self.counts
        if not weights.isfinite().all() or weights.min() < 0 or shares.sum() == 0:
            raise ValueError(
                f"data.class_weights={list(class_weights)} must be finite, "
                "zero or more, and not all zero"
            )
        return apportion(shares, rows)

    def _weighted(self, quotas: Tensor, random: torch.Generator) -> Tensor:
        """`quotas` rows of each class, all shuffled; within a class in turn, each turn anew."""
        drawn = []
        for members, quota in zip(self.members.split(self.counts.tolist()), quotas.tolist()):
            turns = -(-quota // max(len(members), 1))
            order = torch.rand(turns, len(members), generator=random).argsort(1)
            drawn.append(members[order.flatten()[:quota]])
        rows = torch.cat(drawn)
        return rows[torch.randperm(len(rows), generator=random)]
