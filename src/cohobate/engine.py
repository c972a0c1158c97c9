"""The training loop. It knows batches, losses and Fabric; it knows no method and no task."""

import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cohobate.core import Batch, Losses, Method, Progress
from cohobate.distributed import least, share_buffers
from cohobate.interrupt import Interrupted, Signals
from cohobate.losses import total
from cohobate.modules import EMA, SWA, frozen_keys
from cohobate.modules.memory import keep_from_broadcast
from cohobate.optim import Recipe
from cohobate.rundir import RunDir
from cohobate.watch import Watch

Row = dict[str, Any]


class Loader(Protocol):
    """Batches on the device, in an order that is a pure function of the epoch."""

    def __len__(self) -> int: ...
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]: ...


class Display(Protocol):
    """What a person is told while training runs."""

    def begin(self, epoch: int, epochs: int, done: int, steps: int) -> None: ...
    def step(self, images: int, lr: float, waited: float, losses: dict[str, float]) -> None: ...
    def end(self, row: Row) -> None: ...
    def say(self, sentence: str) -> None: ...


class Training:
    """One run, from its last checkpoint, if there is one, to its end.

    evaluate: scores of a network; called with True after the last epoch, with False after others.
    seed: of all random draws; those of a step are a pure function of (seed, step, rank).
    checkpoint_every: steps between checkpoints, besides the one after every epoch; 0 for none.
    recall: adds what a frozen teacher says to a batch, given the epoch and the place in it.
    log: is given the row of every epoch once its checkpoint is written.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        loader: Loader,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        run: RunDir,
        *,
        evaluate: Callable[[nn.Module, bool], dict[str, float]],
        display: Display,
        seed: int = 0,
        checkpoint_every: int = 0,
        recall: Callable[[Batch, int, int], Batch] | None = None,
        log: Callable[[Row], None] | None = None,
    ):
        self.fabric, self.method, self.loader, self.recipe = fabric, method, loader, recipe
        self.run, self.evaluate, self.display = run, evaluate, display
        self.seed, self.checkpoint_every, self.recall = seed, checkpoint_every, recall
        self.log = log
        self.per_epoch = -(-len(loader) // recipe.accumulate)
        self.look_every = 10 if fabric.device.type == "cpu" else 50
        self.average = recipe.average(method.model, fabric.device)
        self.step, self.images, self.rows = 0, 0, list[Row]()
        self.seconds = self.waited = 0.0
        self.watch = Watch(fabric.device)
        self.optimizer = optimizer  # Fabric's copy steps, but keeps groups of its own
        keep_from_broadcast(method)
        self.wrapped, self.stepper = fabric.setup(method, optimizer)
        self._load()

    @property
    def network(self) -> nn.Module:
        """What is evaluated and exported: the average of the weights where one is kept."""
        return self.average.net if self.average else self.method.model

    def fit(self) -> list[Row]:
        """Trains to the end and returns a row of numbers for each epoch.

        Raises `Interrupted` on SIGINT and SIGTERM, once a checkpoint is written, and
        FloatingPointError at a loss that is not finite.
        """
        with Signals() as signals:
            try:
                for epoch in range(self.step // self.per_epoch, self.recipe.epochs):
                    self._epoch(epoch, signals)
            except RuntimeError:  # on other processes, the one that was interrupted is gone
                if signals.received and not self.fabric.is_global_zero:
                    raise Interrupted(signals.received, "another process") from None
                raise
        return self.rows

    def _epoch(self, epoch: int, signals: Signals) -> None:
        done = self.step % self.per_epoch
        self.display.begin(epoch, self.recipe.epochs, done, self.per_epoch)
        self.wrapped.train()
        batches = self.loader.epoch(epoch, done * self.recipe.accumulate)
        for position in range(done, self.per_epoch):
            self.advance(epoch, position, batches)
            if position + 1 == self.per_epoch:
                self._end(epoch)
            elif signals.received and self.fabric.is_global_zero:
                self._save(self._is_sound())
            elif self.checkpoint_every and self.step % self.checkpoint_every == 0:
                self._look()
                self._save(least(self._is_sound()))
            finished = self.step == self.per_epoch * self.recipe.epochs
            if signals.received and self.fabric.is_global_zero and not finished:
                raise Interrupted(signals.received, f"epoch {epoch + 1} after step {self.step}")

    def advance(self, epoch: int, position: int, batches: Iterator[Batch]) -> None:
        """One step of the optimiser, on the next of `batches`, at a position in the epoch."""
        began, step, recipe = time.perf_counter(), self.step, self.recipe
        torch.manual_seed(_mix(self.seed, step, self.fabric.global_rank))
        now = torch.tensor([epoch, step]).to(self.fabric.device, non_blocking=True)
        progress = Progress(now[0], recipe.epochs, now[1], recipe.epochs * self.per_epoch)
        rate = recipe.rate(step, self.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        parts = min(recipe.accumulate, len(self.loader) - position * recipe.accumulate)
        images = 0
        for part in range(parts):
            waiting = time.perf_counter()
            batch = self.method.mixed(next(batches))
            self.waited += time.perf_counter() - waiting
            if self.recall:
                batch = self.recall(batch, epoch, position * recipe.accumulate + part)
            images += len(batch.ids)
            with self.fabric.no_backward_sync(self.wrapped, enabled=part + 1 < parts):
                losses: Losses = self.wrapped(batch, progress)
                self.fabric.backward(total(losses.values()) / parts)
            self.watch.add(losses, step)
        if recipe.clip:
            self.fabric.clip_gradients(
                self.wrapped, self.stepper, max_norm=recipe.clip, error_if_nonfinite=False
            )
        self.stepper.step()
        self.optimizer.zero_grad()
        self.method.after_step(progress)
        if isinstance(self.average, EMA):
            self.average.follow(self.method.model)
        self.step += 1
        self.images += images
        losses_so_far = self._look() if self.step % self.look_every == 0 else {}
        self.seconds += time.perf_counter() - began
        share = self.waited / self.seconds
        self.display.step(images * self.fabric.world_size, rate, share, losses_so_far)

    def _look(self) -> dict[str, float]:
        """The means so far. Raises FloatingPointError, on all processes alike, at a bad term."""
        self.watch.bad = least(self.watch.bad)
        self._refuse(self.watch.trouble())
        return self.watch.means()

    def _refuse(self, trouble: str | None) -> None:
        if trouble:
            kept = (
                f"the last good state is {self.run.last}"
                if self.run.last.exists()
                else "no state was saved yet"
            )
            raise FloatingPointError(
                f"{trouble} is not finite; {kept}. Lower optim.lr (now {self.recipe.lr:g}), lengthen"
                f" optim.warmup ({self.recipe.warmup:g} epochs) or lower optim.clip"
                f" ({self.recipe.clip:g}, 0 is off)"
            )

    def _end(self, epoch: int) -> None:
        """Scores the network, writes the epoch's row and a checkpoint."""
        began = time.perf_counter()
        self._look()
        self.seconds += time.perf_counter() - began  # of steps that a GPU had still to do
        share_buffers(self.method)
        last = epoch + 1 == self.recipe.epochs
        if isinstance(self.average, SWA):
            self.average.follow(self.method.model, self.recipe.averages(epoch))
            if last:
                with self.fabric.autocast():
                    self.average.measure(self.loader.epoch(epoch))
        if self.average:
            share_buffers(self.average)
        images = self.images * self.fabric.world_size
        row: Row = {
            "epoch": epoch,
            "step": self.step,
            "lr": self.recipe.rate(self.step - 1, self.per_epoch),
            **{f"train/{name}": value for name, value in self.watch.means().items()},
            **self.evaluate(self.network, last),
            "seconds": round(self.seconds, 3),
            "images_per_second": round(images / self.seconds, 1),
            "data_wait": round(self.waited / self.seconds, 4),
        }
        for name, ratio in self.watch.grown().items():
            self.display.say(
                f"warning: loss term {name!r} has grown to {ratio:.0f} times its first value, more"
                " than all terms were together; a longer optim.warmup or a lower optim.lr helps"
            )
        self.rows.append(row)
        self.watch.next_epoch()
        self.seconds, self.waited, self.images = 0.0, 0.0, 0
        self._save(least(self._is_sound()))
        self.display.end(row)
        if self.log:
            self.log(row)

    def _is_sound(self) -> Tensor:
        """1 where every weight on this process is finite, else 0."""
        weights = [p.detach() for p in self.method.parameters()]
        return torch.stack([w.isfinite().all() for w in weights]).all().int()

    def _save(self, sound: Tensor) -> None:
        """Writes a checkpoint from the first process. A state that is not finite is never saved.

        sound: 0 where a weight is not finite; the least of all processes, where all of them save.
        """
        self._refuse(self.watch.trouble())
        if not sound:
            self._refuse(f"a weight after step {self.step - 1}")
        if not self.fabric.is_global_zero:
            return
        left_out = frozen_keys(self.method)
        state = {
            "method": {k: v for k, v in self.method.state_dict().items() if k not in left_out},
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "watch": self.watch.state(),
            **{key: getattr(self, key) for key in POSITION},
        }
        self.run.save(state)
        self.run.write_rows(self.rows)

    def _load(self) -> None:
        state = self.run.load()
        if state is None:
            return
        kept = {k: v for k, v in self.method.state_dict().items() if k in frozen_keys(self.method)}
        self.method.load_state_dict({**state["method"], **kept})
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.watch.load(state["watch"])
        for key in POSITION:
            setattr(self, key, state[key])


POSITION = ("step", "rows", "seconds", "waited", "images")


def _mix(*numbers: int) -> int:
    """A seed that is a pure function of a few numbers."""
    return int.from_bytes(blake2b(repr(numbers).encode(), digest_size=8).digest()) >> 1
