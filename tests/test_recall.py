"""What a frozen teacher says, written once and recalled: the same run, without asking the teacher."""

import errno
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cohobate import config, defaults, recall
from cohobate.core import Batch, Mixture
from cohobate.data.augment import Crop
from cohobate.display import Silent
from cohobate.engine import Training
from cohobate.modules import Frozen
from cohobate.recall import largest, spread
from cohobate.train import train
from places import SMOKE, rows, smoke_and
from processes import Command

FEW = ("data.per_class=8", "data.batch_size=16", "precision=float32")
BATCHES = 5
"""Batches in an epoch of so few images."""


class Asked:
    """Counts how often a teacher is asked for a batch of images; two are for its batch norms."""

    def __init__(self, monkeypatch):
        self.times, forward = 0, Frozen.forward

        def counted(network, images):
            self.times += images.device.type != "meta" and len(images) > 2
            return forward(network, images)

        monkeypatch.setattr(Frozen, "forward", counted)


@pytest.fixture
def asked(monkeypatch) -> Asked:
    return Asked(monkeypatch)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    settings, _ = defaults.resolve(config.load(SMOKE, [*FEW, "optim.epochs=3"]))
    train(settings, folder, devices=1, display=Silent())
    return folder


@pytest.fixture
def student(smoke, teacher, tmp_path):
    """Trains a student in a folder, with a cache unless told, and returns how that ended."""

    def run(name: str, *settings, cache: str | None = "cache", epochs=2):
        given = (*FEW, "method.name=kd", f"method.teacher={teacher}", *settings)
        folder = () if cache is None else (f"cache.folder={tmp_path / cache}",)
        return smoke(tmp_path / name, *given, *folder, epochs=epochs)

    return run


def assert_same(one: Path, two: Path) -> None:
    name = "model.safetensors"
    assert (one / name).read_bytes() == (two / name).read_bytes()
    losses = [[{k: v for k, v in r.items() if "/" in k} for r in rows(p)] for p in (one, two)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("count, top", [(7, 3), (10, 10), (5, 1), (300, 20)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_what_is_kept_of_logits_is_its_formula(count, top, temperature):
    """The `top` as they are, and for each other class an equal share of what is left, in float64."""
    random = np.random.default_rng(count)
    logits = 4 * random.standard_normal((6, count))
    values, classes = largest(torch.from_numpy(logits), top)
    assert (values.dtype, values.shape) == (torch.float16, (6, top + 1))
    assert classes.dtype == (torch.uint8 if count <= 256 else torch.int16)
    found = torch.softmax(spread(values, classes, count) / temperature, 1)
    for row, given in zip(found.tolist(), logits):
        exps = [math.exp(z - max(given)) for z in given]
        p = [e / sum(exps) for e in exps]
        chosen = sorted(range(count), key=lambda c: -p[c])[:top]
        left = 1 - sum(p[c] for c in chosen)
        kept = [p[c] if c in chosen else left / (count - top) for c in range(count)]
        soft = [q ** (1 / temperature) for q in kept]
        assert row == pytest.approx([q / sum(soft) for q in soft], rel=0.01, abs=1e-6)


def test_logits_far_apart_stay_numbers():
    values, classes = largest(torch.tensor([[1e6, 0.0, -1e6, 5.0]]), 2)
    assert torch.isfinite(spread(values, classes, 4)).all()


MIXED = {
    "plain": (),
    "accumulated": ("optim.accumulate=2", "mix.name=mixup", "mix.per=sample"),
    "mixkd": ("method.name=mixkd", "method.mixing=cutmix"),
}


@pytest.mark.parametrize("settings", MIXED.values(), ids=MIXED)
def test_a_run_that_reads_is_the_run_that_wrote(student, asked, tmp_path, settings):
    wrote = student("wrote", *settings)
    assert wrote.code == 0, wrote.err
    assert f"outputs are written to {tmp_path / 'cache' / 'seed0'} (about 0.0 MB" in wrote.out
    assert asked.times == 2 * BATCHES
    read = student("read", *settings)
    assert read.code == 0, read.err
    assert f"the teacher's outputs are read from {tmp_path / 'cache' / 'seed0'}\n" in read.out
    assert asked.times == 2 * BATCHES
    assert_same(tmp_path / "wrote", tmp_path / "read")
    plain = student("plain", *settings, cache=None)
    assert plain.code == 0, plain.err
    first, exact = (rows(tmp_path / name)[0] for name in ("wrote", "plain"))
    assert first["train/kd"] == pytest.approx(exact["train/kd"], rel=2e-3)
    assert first["train/ce"] == pytest.approx(exact["train/ce"], rel=2e-3)


def test_other_students_and_options_read_the_same(student, asked):
    assert student("wrote", epochs=1).code == 0
    before = asked.times
    for name, setting in (("a", "method.temperature=2"), ("b", "model.arch=cifar_resnet14")):
        ran = student(name, setting, epochs=1)
        assert ran.code == 0, ran.err
    assert asked.times == before
    ran = student("longer", epochs=2)
    assert "outputs of 1 of 2 epochs are read from" in ran.out
    assert asked.times == before + BATCHES


def test_seeds_lie_apart(student, tmp_path):
    for seed in (0, 1):
        ran = student(f"run{seed}", f"seed={seed}", epochs=1)
        assert ran.code == 0, ran.err
        assert "are written to" in ran.out
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"seed0", "seed1"}


def test_fewer_classes_take_less_of_the_disk(student, tmp_path):
    sizes = []
    for top in (1, 10):
        name = f"top{top}"
        assert student(name, f"cache.top={top}", cache=f"{name}/cache", epochs=1).code == 0
        with np.load(tmp_path / name / "cache" / "seed0" / "epoch0-rank0.npz") as file:
            sizes.append(sum(file[name].nbytes for name in file))
    rows_of_an_epoch = 16 * BATCHES
    assert sizes == [rows_of_an_epoch * (2 * (top + 1) + top + 16) for top in (1, 10)]


OTHER = {
    "data.batch_size=8": "data.batch_size: 16 → 8",
    "data.augment=[]": "data.augment: ['crop'] → []",
    "data.per_class=9": "data.per_class: 8 → 9",
    "data.val=0.2": "data.val: 0.1 → 0.2",
    "data.class_weights=balanced": "data.class_weights: not set → balanced",
    "mix.name=cutmix": "mix: None → CutMix(alpha=1.0",
    "cache.top=3": "cache.top: 10 → 3",
    "optim.accumulate=2": "optim.accumulate: 1 → 2",
    "precision=bf16": "precision: float32 → bf16",
}


def test_a_folder_of_other_settings_is_refused(student, smoke, tmp_path):
    assert student("wrote", epochs=1).code == 0
    for setting, difference in OTHER.items():
        ran = student("run", setting, epochs=1)
        assert ran.code == 2, setting
        assert ran.err.startswith(f"cohobate: {tmp_path / 'cache' / 'seed0'} holds a teacher's")
        assert difference in ran.err
        assert ran.err.endswith("name another cache.folder\n")
        assert len(ran.err.splitlines()) == 1
        assert not (tmp_path / "run").exists()
    assert smoke(tmp_path / "other", *FEW, "seed=1").code == 0
    ran = student("run", f"method.teacher={tmp_path / 'other'}", epochs=1)
    assert ran.code == 2
    assert "(folder → this run: teacher: " in ran.err


REFUSED = {
    "method.name=supervised": "method 'supervised' wants more of a frozen teacher than its logits",
    "method.name=hsakd_teacher": "take [cache] away, or choose from ",
    "cache.top=0": "cache.top=0: input should be greater than or equal to 1",
    "cache.size=3": "unknown setting of [cache] 'size'",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_cannot_be_recalled_is_refused(smoke, tmp_path, setting):
    ran = smoke(tmp_path / "run", *FEW, f"cache.folder={tmp_path / 'cache'}", setting)
    assert ran.code == 2
    assert REFUSED[setting] in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "cache").exists()


def test_a_method_that_looks_at_all_classes_wants_them_all(student):
    mixkd = ("method.name=mixkd", "cache.top=9")
    ran = student("run", *mixkd)
    assert ran.code == 2
    assert "cache.top=9: method 'mixkd', as it is set, needs" in ran.err
    assert ran.err.endswith("of all 10 classes: cache.top=10\n")
    ran = student("run", *mixkd, "method.standardise=none")
    assert ran.code == 0, ran.err


def test_an_augmentation_that_draws_by_itself_is_refused(student, monkeypatch, tmp_path):
    crop = Crop.__call__
    monkeypatch.setattr(Crop, "__call__", lambda *given: crop(*given).roll(np.random.randint(9), 3))
    assert student("wrote", epochs=1).code == 0
    ran = student("read", epochs=1)
    assert ran.code == 2
    assert f"{tmp_path / 'cache' / 'seed0' / 'epoch0-rank0.npz'} was made of other" in ran.err
    assert ran.err.endswith("cannot be replayed: name another cache.folder\n")


@pytest.mark.parametrize("name", ["id", "image", "partner", "weight", "mask"])
def test_a_witness_tells_inputs_apart(name):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 8, 8, generator=draw)
    mask = torch.ones(4, 1, 8, 8)
    mask[1, :, :4, :4] = 0
    ids, partner, weight = torch.arange(4), torch.tensor([1, 2, 3, 0]), torch.full((4,), 0.5)
    known = {"id": ids, "image": images, "partner": partner, "weight": weight, "mask": mask}
    other = {**known, "id": ids + 1, "image": images.flip(-1), "partner": partner.roll(1)}
    other |= {"weight": weight + 0.01, "mask": mask.flip(-1)}

    def witness(id, image, partner, weight, mask):
        mix = Mixture(partner, weight, mask if name == "mask" else None)
        return recall._witness(Batch(image, ids, id, mix))

    assert torch.equal(witness(**known), witness(**known))
    changed = witness(**{**known, name: other[name]})
    assert (changed - witness(**known)).abs().max() > recall.TOLERANCE


def test_damaged_files_are_named(student, tmp_path):
    assert student("wrote", epochs=1).code == 0
    path = tmp_path / "cache" / "seed0" / "epoch0-rank0.npz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[: len(whole) // 2], b"", bytes(flipped)):
        path.write_bytes(content)
        ran = student("read", epochs=1)
        assert ran.code == 2
        assert ran.err.startswith(f"cohobate: {path} is damaged (")
        assert ran.err.endswith("delete it, and the same command makes it anew\n")
        assert len(ran.err.splitlines()) == 1
    path.unlink()
    assert student("read", epochs=1).code == 0
    assert_same(tmp_path / "wrote", tmp_path / "read")
    settings = path.with_name("settings.json")
    settings.write_text("{")
    ran = student("again", epochs=1)
    assert ran.code == 2
    assert ran.err.startswith(f"cohobate: {settings} is damaged: ")
    assert ran.err.endswith(f"`rm -r {path.parent}` starts it anew\n")
    settings.unlink()
    ran = student("again", epochs=1)
    assert ran.code == 2, "nobody knows what these files were made of"
    assert "teacher: not set → " in ran.err


def test_a_run_goes_on_where_its_outputs_cannot_be_written(student, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    ran = student("run")
    assert ran.code == 0, ran.err
    assert ran.out.count("could not be written to") == 2
    assert "epoch0-rank0.npz (No space left on device); training goes on without" in ran.out
    assert [path.name for path in (tmp_path / "cache" / "seed0").iterdir()] == ["settings.json"]


def test_a_folder_that_cannot_be_made_is_named(student, tmp_path):
    (tmp_path / "file").touch()
    ran = student("run", cache="file/cache")
    assert ran.code == 2
    assert f"{tmp_path / 'file'} is a file): name another with cache.folder=DIR" in ran.err


def test_a_run_that_was_stopped_leaves_whole_epochs_alone(student, monkeypatch, asked, tmp_path):
    """The epoch in which it stopped is written by the next run, and all end in the same bits."""
    before = Training.advance

    def step(self, *arguments):
        before(self, *arguments)
        if self.step == BATCHES + 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", step)
    assert student("cut").code == 128 + signal.SIGTERM
    monkeypatch.setattr(Training, "advance", before)
    folder = tmp_path / "cache" / "seed0"
    ran = student("cut")
    assert ran.code == 0, ran.err
    assert {path.name for path in folder.iterdir()} == {"settings.json", "epoch0-rank0.npz"}
    assert asked.times == 2 * BATCHES
    assert student("next").code == 0
    assert asked.times == 3 * BATCHES
    assert (folder / "epoch1-rank0.npz").exists()
    assert student("whole", cache="elsewhere").code == 0
    for name in ("next", "whole"):
        assert_same(tmp_path / "cut", tmp_path / name)


def test_a_run_that_was_stopped_reads_on(student, monkeypatch, asked, tmp_path):
    assert student("whole").code == 0
    before, times = Training.advance, asked.times

    def step(self, *arguments):
        before(self, *arguments)
        if self.step == BATCHES + 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "advance", step)
    assert student("cut").code == 128 + signal.SIGTERM
    monkeypatch.setattr(Training, "advance", before)
    (tmp_path / "cache").rename(tmp_path / "moved")
    ran = student("cut", cache="moved")
    assert ran.code == 0, ran.err
    assert asked.times == times
    assert_same(tmp_path / "whole", tmp_path / "cut")
    ran = student("cut", cache=None)
    assert ran.code == 2
    assert "cache: {'folder': " in ran.err


def test_runs_of_a_study_share_it_and_their_teacher_does_without(cohobate, asked, tmp_path):
    smoke_and(tmp_path / "teacher.toml", "")
    given = (*FEW, "optim.epochs=1", "method.name=kd", "method.teacher=teacher.toml")
    sweep = ("--sweep", "method.temperature=2,4", "cache.folder=cache")
    ran = cohobate("compare", SMOKE, *given, *sweep, "--out", "study")
    assert ran.code == 0, ran.err
    assert ran.out.count("are written to cache/seed0") == 1
    assert ran.out.count("are read from cache/seed0") == 1
    assert asked.times == BATCHES


def test_a_run_with_a_cache_is_explained(cohobate, teacher):
    given = ("method.name=kd", f"method.teacher={teacher}", "cache.folder=cache")
    ran = cohobate("explain", SMOKE, *given)
    assert ran.code == 0, ran.err


@pytest.mark.slow
def test_every_process_keeps_its_own(student, teacher, tmp_path):
    folder = tmp_path / "cache"

    def on_two(name: str) -> str:
        given = (*FEW, "optim.epochs=1", "method.name=kd", f"method.teacher={teacher}")
        place = (f"cache.folder={folder}", "--out", str(tmp_path / name), "--devices", "2")
        code, out, err = Command("train", SMOKE, *given, *place).finish()
        assert code == 0, err
        return out

    assert on_two("wrote").count("are written to") == 1
    names = {path.name for path in (folder / "seed0").iterdir()}
    assert names == {"settings.json", "epoch0-rank0.npz", "epoch0-rank1.npz"}
    assert on_two("read").count("are read from") == 1
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("wrote", "read"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    ran = student("alone", epochs=1)
    assert ran.code == 2
    assert "processes: 2 → 1" in ran.err
