"""A run that is done, opened again: its settings, its network, and the images that it began with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from cohobate import build, teachers
from cohobate import config as settings
from cohobate.config import RunConfig
from cohobate.core import Method
from cohobate.data.classification import ImageSet
from cohobate.data.splits import Split
from cohobate.models import Classifier
from cohobate.modules import frozen_keys, memory_keys
from cohobate.rundir import RunDir
from cohobate.weights import load_network

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Trained:
    """A run's folder, and what is in it or named by it."""

    run: RunDir
    config: RunConfig
    network: Classifier
    data: ImageSet

    def split(self, name: str) -> Split:
        """The split that `--split` names. Raises ValueError where the data has none of that name."""
        has = {each: getattr(self.data, each) for each in SPLITS}
        if has.get(name) is None:
            choices = ", ".join(each for each in SPLITS if has[each] is not None)
            raise ValueError(f"--split {name}: this data has {choices}")
        return has[name]

    def method(self) -> Method:
        """The method with all that it added to the network, as the training left it: heads, teacher, mixing.

        Where weights were averaged, its network has those of the last step, which the heads know.
        Raises ValueError where the folder does not hold them all.
        """
        if not self.run.method.is_file():
            raise ValueError(f"{self.run.path} holds no {self.run.method.name}, with the heads")
        described = self.run.teacher if self.run.teacher.is_dir() else None
        method = build.method(
            self.config.model_copy(deep=True),
            self.data,
            load_network(self.run.path),
            partial(teachers.find, described=described),
        )
        files = [file for file in (self.run.frozen, self.run.method) if file.is_file()]
        try:
            state = {key: value for file in files for key, value in load_file(file).items()}
            needed = {*method.state_dict()} - memory_keys(method)
            if described is None:
                needed -= frozen_keys(method)
            if missing := needed - {*state}:
                raise SafetensorError(f"it lacks {min(missing)}")
            method.load_state_dict(state, strict=False)
        except (SafetensorError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"{self.run.method} is damaged: {first}") from error
        return method.eval()


def reopen(folder: str | Path, overrides: Sequence[str] = ()) -> Trained:
    """The run in a folder.

    overrides: settings such as `data.root=…`, for other data of the same classes.
    Raises ValueError where the folder holds no trained network, or the data is not the run's.
    """
    run = RunDir(folder)
    if not run.config.is_file():
        raise ValueError(f"{run.path} is no run folder: it holds no config.toml")
    config = settings.load(run.config, overrides)
    network = load_network(run.path)
    data = build.load_data(config)
    if list(data.classes) != list(network.net.pretrained_cfg.get("label_names") or data.classes):
        raise ValueError(f"{run.path} was trained on other classes than {data.name!r} has")
    if not any(setting.startswith("data.") for setting in overrides):
        check_data(run, data)
    return Trained(run, config, network, data)


def record_data(run: RunDir, data: ImageSet) -> dict[str, str]:
    """Writes which images are in which split, so that a later look sees what has changed.

    Returns the fingerprint of each split.
    """
    splits = {name: getattr(data, name) for name in SPLITS}
    facts = {
        name: {"images": len(split), "fingerprint": split.fingerprint(), "files": split.names()}
        for name, split in splits.items()
        if split is not None
    }
    run.write(run.splits, json.dumps(facts, indent=1) + "\n")
    return {name: str(each["fingerprint"]) for name, each in facts.items()}


def check_data(run: RunDir, data: ImageSet) -> None:
    """Raises ValueError where a split holds other images than when the run began."""
    for name, facts in run.read(run.splits).items():
        if name not in SPLITS or not isinstance(facts, dict) or "fingerprint" not in facts:
            raise ValueError(f"{run.splits} is damaged: {name!r} tells of no images")
        split = getattr(data, name)
        if split is None or split.fingerprint() != facts["fingerprint"]:
            now = 0 if split is None else len(split)
            raise ValueError(
                f"the {name} images are not those that {run.path} began with ({facts.get('images')}"
                f" then, {now} now; {run.splits} lists them): put the data back, or train anew in"
                " another folder with --out DIR"
            )
