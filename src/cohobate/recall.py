"""What a frozen teacher says of the training images, written to disk once and recalled later."""

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from cohobate.config import RunConfig, differences
from cohobate.core import Batch, Method
from cohobate.data.classification import ImageSet
from cohobate.rundir import RunDir, check_folder
from cohobate.weights import plain

Arrays = dict[str, Tensor]
"""What lies on disk of an epoch, (batches, B, …) each."""

TOLERANCE = 1e-4
"""How far the witness of a batch may be off: means are not summed in the same order everywhere."""
LOOK_EVERY = 50
"""Batches between two looks at the witnesses: each waits for the device."""


class Recall:
    """Gives every batch the logits of a frozen teacher: from disk where they are there already.

    Order, augmentation and mixing are pure functions of the seed and the place in training, so that
    a later run sees the same inputs, and the place finds them. A batch lies there with its witness,
    by which inputs that are not the same after all are found out.

    A run learns from what it writes, rounded, so that it ends in the same bits as one that reads.
    An epoch that it takes up in the middle, or does not finish, is not written.

    data, method, fabric: of the run.
    precision: in which the teacher computes.
    batches: of an epoch, on this process.
    say: tells a person what is read and what is written.
    Raises ValueError where the folder was made by other settings, or cannot be written to.
    """

    def __init__(
        self,
        config: RunConfig,
        data: ImageSet,
        method: Method,
        fabric: Fabric,
        *,
        precision: str,
        batches: int,
        say: Callable[[str], None],
    ):
        assert config.cache is not None
        self.fabric, self.batches, self.say = fabric, batches, say
        self.teacher = method.get_submodule("teacher")
        self.classes = method.model.num_classes
        self.top = min(config.cache.top, self.classes)
        self.folder = Path(config.cache.folder, f"seed{config.seed}")
        rows = config.data.batch_size // fabric.world_size * (1 + method.companions)
        kinds = {
            "values": (self.top + 1, torch.float16),
            "classes": (self.top, _smallest(self.classes)),
            "witness": (4, torch.float32),
        }
        self.form = {
            name: torch.empty(batches, rows, width, dtype=dtype, device="meta")
            for name, (width, dtype) in kinds.items()
        }
        self.epoch, self.taken, self.known = -1, 0, False
        self.arrays: Arrays = {}
        self.off = torch.zeros((), device=fabric.device)
        epochs = config.optim.epochs
        missing = sum(not self._path(epoch).exists() for epoch in range(epochs))
        if missing:
            check_folder(self.folder, "cache.folder=DIR")
        settings = _settings(config, data, method)
        machine = {"precision": precision, "processes": fabric.world_size}
        _agree(self.folder, {**settings, **machine, "cache": {"top": self.top}})
        say(self._plan(missing, epochs))

    def __call__(self, batch: Batch, epoch: int, position: int) -> Batch:
        """The batch, after mixing, with what the teacher says of its inputs.

        position: of the batch among those of its epoch.
        Raises ValueError where the inputs are not those of the file, or this is damaged.
        """
        if epoch != self.epoch:
            self._open(epoch)
        self.taken += 1
        witness = _witness(batch)
        if self.known:
            at = {name: array[position] for name, array in self.arrays.items()}
            at = {k: v.to(witness.device, non_blocking=True) for k, v in at.items()}
            self._compare(witness, at["witness"], position)
        else:
            with self.fabric.autocast():
                logits = self.teacher(batch.inputs)
            values, classes = largest(logits, self.top)
            at = {"values": values, "classes": classes, "witness": witness}
            for name, value in at.items():
                self.arrays[name][position].copy_(value, non_blocking=True)
            if self.taken == self.batches:
                self._write()
        return batch._replace(taught=spread(at["values"], at["classes"], self.classes))

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch{epoch}-rank{self.fabric.global_rank}.npz"

    def _plan(self, missing: int, epochs: int) -> str:
        """What a run of so many epochs finds, and what it writes."""
        if not missing:
            return f"the teacher's outputs are read from {self.folder}"
        size = sum(array.nbytes for array in self.form.values()) * self.fabric.world_size / 1e6
        cost = f"about {size:,.1f} MB an epoch, {missing * size:,.1f} MB in all"
        if missing == epochs:
            return f"the teacher's outputs are written to {self.folder} ({cost})"
        return (
            f"the teacher's outputs of {epochs - missing} of {epochs} epochs are read from"
            f" {self.folder}, and the others are written there ({cost})"
        )

    def _open(self, epoch: int) -> None:
        """The file of an epoch, or empty arrays to fill."""
        self.epoch, self.taken, self.known = epoch, 0, self._path(epoch).exists()
        pinned = self.fabric.device.type == "cuda"
        if self.known:
            self.arrays = self._read(self._path(epoch))
            if pinned:
                self.arrays = {name: array.pin_memory() for name, array in self.arrays.items()}
        else:
            self.arrays = {
                name: torch.empty(form.shape, dtype=form.dtype, pin_memory=pinned)
                for name, form in self.form.items()
            }

    def _read(self, path: Path) -> Arrays:
        try:
            with np.load(path) as file:  # which holds each array against its checksum
                arrays = {name: torch.from_numpy(file[name]) for name in self.form}
            for name, form in self.form.items():
                if (arrays[name].shape, arrays[name].dtype) != (form.shape, form.dtype):
                    raise ValueError(f"{name} is {arrays[name].dtype} {[*arrays[name].shape]}")
        except Exception as error:  # a damaged archive raises whatever its reader stumbles over
            raise ValueError(
                f"{path} is damaged ({error}): delete it, and the same command makes it anew"
            ) from error
        return arrays

    def _compare(self, witness: Tensor, expected: Tensor, position: int) -> None:
        """Raises ValueError where these, or those before, are not the inputs of the file."""
        self.off = self.off.maximum((witness - expected).abs().max())
        looks = self.taken % LOOK_EVERY == 1 or position + 1 == self.batches
        if looks and not self.off <= TOLERANCE:  # nor where it is no number
            raise ValueError(
                f"{self._path(self.epoch)} was made of other images, or of other mixtures of them,"
                " than this run sees, so that it cannot be replayed: name another cache.folder"
            )

    def _write(self) -> None:
        """Writes an epoch that is whole; a run goes on where that cannot be done."""
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        path = self._path(self.epoch)
        try:
            with _whole(path) as file:
                np.savez(file, **{name: array.numpy() for name, array in self.arrays.items()})  # pyright: ignore[reportArgumentType]
        except OSError as error:
            self.say(
                f"warning: the teacher's outputs of epoch {self.epoch + 1} could not be written to"
                f" {path} ({error.strerror or error}); training goes on without"
            )


def largest(logits: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The `top` likeliest classes of logits (B, C), in half precision.

    Log-probabilities (B, top + 1) of these, the last one of the mean probability of the others; and
    the classes (B, top), in the smallest type that holds them all.
    """
    count = logits.shape[1]
    log_p = F.log_softmax(logits.float(), dim=1)
    values, classes = log_p.topk(top)
    left = log_p.scatter(1, classes, -math.inf).logsumexp(1, keepdim=True)
    values = torch.cat([values, left - math.log(max(1, count - top))], 1)
    lowest = torch.finfo(torch.float16).min  # a KL of minus infinity is no number
    return values.clamp_min(lowest).half(), classes.to(_smallest(count))


def spread(values: Tensor, classes: Tensor, count: int) -> Tensor:
    """Log-probabilities (B, count), float32, of what `largest` gave; others share what is left.

    At temperature 1 the probability of the `top`, and that of all others together, is right to half
    precision. At a higher one the others weigh more than they should, since equal shares gain most
    from softening; at a lower one less. Nothing is lost where `top` is all classes.
    """
    values = values.float()
    return values[:, -1:].repeat(1, count).scatter_(1, classes.long(), values[:, :-1])


def _smallest(count: int) -> torch.dtype:
    """The smallest type that holds numbers below `count`."""
    kinds = (torch.uint8, torch.int16, torch.int32)
    return next(kind for kind in kinds if count - 1 <= torch.iinfo(kind).max)


def _witness(batch: Batch) -> Tensor:
    """What a batch is known by, (B, 4): each image, how it looks, its partner, how they are mixed."""
    ids, mix = batch.ids.float(), batch.mix
    if mix is None:
        partner, how = ids, torch.ones_like(ids)
    else:
        partner, how = ids[mix.partner], mix.weight if mix.mask is None else _look(mix.mask)
    return torch.stack([ids, _look(batch.images), partner, how], 1)


def _look(images: Tensor) -> Tensor:
    """A number for each of some images or masks (B, …, H, W): another crop, or a mirror, changes it."""
    height, width = images.shape[-2:]
    across = torch.linspace(0, 1, width, device=images.device)
    down = torch.linspace(0, 2, height, device=images.device)
    return (images * (down[:, None] + across)).flatten(1).mean(1)


def _settings(config: RunConfig, data: ImageSet, method: Method) -> dict[str, Any]:
    """What of a run's settings its inputs, and what its teacher says of them, depend on."""
    left_out = {"root", "download", "workers", "skip_bad"}  # all that they change is the images
    given = config.data.model_dump(mode="json", exclude=left_out)
    return {
        "teacher": _fingerprint(method.get_submodule("teacher")),
        "seed": config.seed,
        "mix": repr(method.mix),
        "optim": {"accumulate": config.optim.accumulate},
        "data": {
            **given,
            "augment": list(data.augment) if config.data.augment is None else given["augment"],
            "seed": config.seed if config.data.seed is None else config.data.seed,
            "size": data.size,
            "images": data.train.fingerprint(),
        },
    }


def _fingerprint(network: nn.Module) -> str:
    """A short text that is another for other weights."""
    mark = blake2b(digest_size=16)
    for name, value in plain(network.state_dict()).items():
        mark.update(name.encode())
        mark.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()


def _agree(folder: Path, settings: dict[str, Any]) -> None:
    """Raises ValueError where a folder was made by other settings; writes these where it is new."""
    path = folder / "settings.json"
    if not path.exists() and not any(folder.glob("*.npz")):
        folder.mkdir(parents=True, exist_ok=True)
        with _whole(path) as file:
            file.write(json.dumps(settings, indent=2).encode())
        return
    try:
        there = RunDir(folder).read(path)
    except ValueError as error:
        raise ValueError(f"{error}; `rm -r {folder}` starts it anew") from error
    if changed := differences(there, settings):
        raise ValueError(
            f"{folder} holds a teacher's outputs for other settings (folder → this run:"
            f" {', '.join(changed)}): name another cache.folder"
        )


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once it is whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
