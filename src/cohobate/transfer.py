"""A trained network as the encoder of another task: the training that starts from it."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohobate import build, defaults
from cohobate import config as settings
from cohobate.config import ModelConfig, Override, RunConfig
from cohobate.models.classifier import FOUND_OUT
from cohobate.rundir import part
from cohobate.tasks import TASKS
from cohobate.teachers import TIMM
from cohobate.weights import described

DEFAULTS: dict[str, dict[str, Any]] = {
    "segmentation": {
        "model": {"decoder": "upernet"},  # which stands on any pyramid
        "data": {"batch_size": 16},
        "optim": {"epochs": 60, "lr": 0.02, "schedule": "poly", "weight_decay": 1e-4},
    },
    "detection": {
        "data": {"batch_size": 16},
        "optim": {"epochs": 12, "lr": 0.02, "weight_decay": 1e-4},
    },
}
"""The settings of a task where no run file gives them: about those that the field transfers with."""
CLASSIFICATION = "classification"


@dataclass(frozen=True)
class Source:
    """A trained network that another task starts from.

    path: a run's folder, one of timm's form, or a checkpoint file; None for `timm:NAME`.
    task, model: of the run that trained it, the latter its [model]; empty for a checkpoint file.
    """

    name: str
    path: Path | None
    model: dict[str, Any]
    task: str = CLASSIFICATION

    @classmethod
    def of(cls, name: str) -> "Source":
        """What a command names: one of these, or a run file, whose default folder it then is.

        Raises ValueError where there is no trained network.
        """
        if name.startswith(TIMM):
            return cls(name, None, {"arch": name.removeprefix(TIMM), "pretrained": True})
        path = build.named_folder("RUN_FOLDER", name, "a RUN_FOLDER")
        if path.is_file():
            return cls(name, path, {})
        facts = described(path)
        if not (facts and (path / "model.safetensors").is_file()):
            raise ValueError(
                f"{path} holds no trained network (model.safetensors with timm's config.json): give"
                " the folder of a run that is done, one of timm's form, a checkpoint file with"
                " model.arch=NAME, or timm:NAME"
            )
        if (path / "config.toml").is_file():
            return cls.planned(path, settings.load(path / "config.toml"))
        options = facts.get("model_args") or {}
        found_out = (*FOUND_OUT, "img_size")
        kept = {key: value for key, value in options.items() if key not in found_out}
        return cls(name, path, {"arch": facts.get("architecture"), **kept})

    @classmethod
    def planned(cls, path: Path, run: RunConfig) -> "Source":
        """The network of a run, whether it is trained yet or not."""
        return cls(str(path), path, run.model.model_dump(mode="json"), run.task)

    def encoder(self, task: str) -> dict[str, Any]:
        """The part of [model] that a run of that task takes over: the network and its options.

        Of another task, what is around the encoder stays behind; how much of it learns always does.
        """
        theirs = () if task == self.task else inspect.signature(TASKS[self.task].model).parameters
        left = {*ModelConfig.model_fields, *theirs} - {"arch"}
        pretrained = {"pretrained": True} if self.path is None else {}
        return {k: v for k, v in self.model.items() if k not in left} | pretrained


@dataclass(frozen=True)
class Transfer:
    """A task to put a trained network to, and the settings of its training.

    table: that of the run file `file`, or of `DEFAULTS`. Over what the network's run says of [model] the
        former goes, and the latter not.
    """

    task: str
    table: dict[str, Any]
    overrides: tuple[Override, ...]
    file: Path | None = None

    @classmethod
    def of(
        cls, task: str, overrides: Sequence[Override] = (), file: Path | None = None
    ) -> "Transfer":
        """A task by the settings of a run file, or by our own.

        Raises ValueError where the file is one of another task, a setting is not as it should be or the
        trained network's to decide, and no data is named.
        """
        table = settings.read(file) if file else DEFAULTS.get(task, {})
        theirs = table.get("task", CLASSIFICATION) if file else task
        if theirs != task:
            raise ValueError(f"{file} is a run file of task={theirs}, and not of task={task}")
        for each in overrides:
            key = settings.pair(each)[0] if isinstance(each, str) else each[0]
            if key in ("task", "init"):
                raise ValueError(
                    f"transfer {task} takes no {key}: the command names the task, and RUN_FOLDER what"
                    " the network starts from"
                )
        kept = {key: value for key, value in table.items() if key not in ("sweep", "init")}
        wanted = cls(task, kept, tuple(overrides), file)
        wanted._typed(kept)
        return wanted

    @property
    def name(self) -> str:
        """What its folder is called: as the run file; else `TASK-DATA`, and the method, if it is no `supervised`."""
        if self.file:
            return self.file.stem
        config = self._typed(self.table)
        method = defaults.default_folder(config).parent.name
        plain = () if method == "supervised" else (method,)
        return "-".join([self.task, part(build.data_name(config)), *plain])

    @property
    def data(self) -> str:
        """What people call the data."""
        return build.data_name(self._typed(self.table))

    def config(self, source: Source, seed: int | None = None) -> RunConfig:
        """The run that starts from a network, every default written out.

        Raises ValueError where [model] names another network, or none where the source tells none.
        """
        own, taken = self.table.get("model", {}), source.encoder(self.task)
        model = {"model": {**taken, **own} if self.file else {**own, **taken}}
        start = {} if source.path is None else {"init": str(source.path)}
        config = self._typed({**self.table, **model, **start})
        _check_arch(source, taken.get("arch"), config)
        if seed is not None:
            config = config.model_copy(update={"seed": seed})
        return defaults.resolve(config)[0]

    def folder(self, source: Source, seed: int) -> Path:
        """Where its run lies that was given no folder: `RUN_FOLDER/transfer/NAME/seedK`.

        Of a network in no folder of its own, in `out/transfer/` under its name.
        """
        path = source.path
        if path is None or path.is_file():
            home = Path("out", "transfer", part(source.name))
        else:
            home = path / "transfer"
        return home / self.name / f"seed{seed}"

    def _typed(self, table: dict[str, Any]) -> RunConfig:
        place = str(self.file or f"transfer {self.task}")
        table = settings.override({**table, "task": self.task}, self.overrides)
        config = settings.parse(table, place)
        if "name" not in config.data.model_fields_set:
            raise ValueError(
                f"{place} needs a data set: data.name=NAME data.root=FOLDER, such as data.name=shapes"
            )
        return config


def _check_arch(source: Source, arch: str | None, config: RunConfig) -> None:
    """Raises ValueError where a run is of another network than the one that it starts from, or of none."""
    asked = config.model.arch
    if arch is None and "arch" not in config.model.model_fields_set:
        raise ValueError(
            f"{source.name} does not tell its network: add model.arch=NAME, such as model.arch=resnet18"
        )
    if arch not in (None, asked):
        raise ValueError(
            f"model.arch={asked}: the network in {source.name} is {arch!r}; leave model.arch away, or"
            " name another RUN_FOLDER"
        )
