"""Networks with the weights that a run, a file or timm holds."""

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from cohobate.models import Classifier, Detector, Segmenter, Unavailable


def load_timm(arch: str, num_classes: int, *, weights: bool = True) -> Classifier:
    """A pretrained network of timm's, a teacher, with the classes that it was trained on.

    weights: whether to load them; else they are new ones.
    Raises ValueError where there is none, or its weights cannot be had.
    """
    own = Classifier(arch, num_classes).net.default_cfg.get("num_classes", num_classes)
    try:
        return Classifier(arch, own, pretrained=weights)
    except Unavailable as error:
        raise ValueError(f"{error.fact}, or give a RUN_FOLDER") from error


def load_network(folder: str | Path, *, weights: bool = True) -> Any:
    """The network that a run, or timm itself, left in a folder: `model.safetensors`, `config.json`.

    A `Classifier`, or what its config.json says of a network for another task, by `SPECS`.
    weights: whether to load them; else `config.json` is enough, and they are new ones.
    Raises ValueError where there is none, or it is damaged.
    """
    folder = Path(folder)
    try:
        if weights:
            with safe_open(folder / "model.safetensors", "pt"):  # whole, as far as its header says
                pass
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        for name, kind in SPECS.items():
            if name in facts:
                return _load_other(folder, kind, facts[name], facts, weights)
        classes = facts.get("num_classes") or facts["pretrained_cfg"]["num_classes"]
        return Classifier(f"local-dir:{folder}", classes, pretrained=weights)
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds no trained network (model.safetensors with timm's config.json): give"
            " the folder of a run that is done"
        ) from None
    except (KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"the network in {folder} is damaged: {error}") from error


def load_classifier(folder: str | Path) -> Classifier:
    """The classifier in a folder, as `load_network` finds it. Raises ValueError for another network."""
    network = load_network(folder)
    if not isinstance(network, Classifier):
        raise ValueError(
            f"{folder} holds a network for {network.task}, and this command is for classification"
        )
    return network


SPECS: dict[str, Any] = {"segmenter": Segmenter, "detector": Detector}
"""The networks that timm cannot build, by what `config.json` calls how they are built."""


def _load_other(
    folder: Path, kind: Any, spec: dict[str, Any], facts: dict[str, Any], weights: bool
) -> Any:
    network = kind(num_classes=facts["num_classes"], **spec)
    network.pretrained_cfg["label_names"] = facts["label_names"]
    if weights:
        network.load_state_dict(load_file(folder / "model.safetensors"))
    return network


def load_checkpoint(
    file: Path, arch: str, num_classes: int, *, size: int, options: dict[str, Any]
) -> Classifier:
    """The network of a plain checkpoint: timm's keys, as torch or safetensors writes them.

    num_classes: of a network whose classifier does not tell it. options: those of [model].
    Raises ValueError where the file is damaged, or holds another network than `arch`.
    """
    state = _read(file)
    shapes = {key: value.shape for key, value in state.items()}
    network = Classifier(arch, num_classes, size=size, **options)
    ends = _head_keys(network)
    known = [key for key in network.net.state_dict() if key.startswith(ends) and shapes.get(key)]
    if known and shapes[known[0]][0] != num_classes:
        network = Classifier(arch, shapes[known[0]][0], size=size, **options)
    mine = {key: value.shape for key, value in network.net.state_dict().items()}
    if strange := sorted(k for k in {*mine} | {*shapes} if mine.get(k) != shapes.get(k)):
        raise ValueError(
            f"{file} is no network of model.arch={arch!r}: {len(strange)} tensors differ, such as"
            f" {strange[0]!r}"
        )
    network.net.load_state_dict(state)
    return network


def _read(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, by name. Raises ValueError where it is none."""
    try:
        state: dict[str, Any] = timm.models.load_state_dict(str(file))
        if not all(isinstance(each, torch.Tensor) for each in state.values()):
            raise TypeError
    except Exception as error:  # what is no checkpoint raises whatever its reader stumbles over
        reason = str(error).partition("\n")[0].partition(". ")[0]
        if isinstance(error, AttributeError | TypeError | LookupError | EOFError):
            reason = "it is no table of named tensors"
        elif reason.startswith("weights_only"):
            reason = "it holds objects of classes that are not torch's own"
        elif not reason:
            reason = "there is no such file" if not file.exists() else type(error).__name__
        raise ValueError(f"{file} cannot be read as a checkpoint: {reason}") from error
    return state


def _head_keys(network: Classifier) -> tuple[str, ...]:
    """What the names of the classifier's tensors begin with."""
    heads = [*network.head()]
    return tuple(f"{name}." for name, part in network.net.named_modules() if part in heads)


def described(folder: Path) -> dict[str, Any]:
    """What `config.json` says of the network in a folder; nothing where there is none.

    Raises ValueError where it is damaged.
    """
    file = folder / "config.json"
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def class_names(folder: Path) -> list[str]:
    """The names of the classes that the network in a folder knows; none where it does not say."""
    return described(folder).get("label_names") or []


def normalisation(folder: Path) -> dict[str, tuple[float, ...]]:
    """`mean` and `std` of the images that the network in a folder knows; none where it does not say."""
    tables = (each for each in described(folder).values() if isinstance(each, dict))
    own = next((each for each in tables if each.get("mean") and each.get("std")), {})
    return {name: tuple(own[name]) for name in ("mean", "std") if own}


def weights_file(source: str) -> Path:
    """The file that a run folder, or a file, holds weights in. Raises ValueError where there is none."""
    path = Path(source)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"init={source}: there is no {path}; give a run folder or a checkpoint file"
        )
    return path


Loaded = dict[str, tuple[int, int]]
"""Of each part of a network how many tensors were loaded, and of how many."""


def start_from(network: Any, source: str) -> Loaded:
    """Loads the weights of a run folder or file; what is of other classes, or another kind, stays as it is.

    Returns what was loaded. Raises ValueError where there are none, or those of another network.
    """
    path = weights_file(source)
    try:
        state = _read(path)
    except ValueError as error:
        raise ValueError(f"init={source}: {error}") from error
    if not isinstance(network, Classifier):
        return _start_other(network, source, state)
    mine = network.net.state_dict()
    shapes = {key for key in state if key in mine and state[key].shape != mine[key].shape}
    ends = _head_keys(network)
    strange = sorted(key for key in {*state} ^ {*mine} | shapes if not key.startswith(ends))
    if strange:
        raise ValueError(
            f"init={source} is no network of model.arch={network.spec['arch']!r}: {len(strange)}"
            f" tensors differ, such as {strange[0]!r}"
        )
    fitting = {k: v for k, v in state.items() if k not in shapes}
    network.net.load_state_dict(fitting, strict=False)
    return _loaded(mine, fitting, lambda key: "classifier" if key.startswith(ends) else "encoder")


def _start_other(network: Any, source: str, state: dict[str, torch.Tensor]) -> Loaded:
    """Loads the weights of a network like it, or those of a timm network into its encoder."""
    whole, own = network.state_dict(), network.encoder.net.state_dict()
    inner = {INNER.sub("", key): value for key, value in state.items()}
    strange = [k for k in own if k not in inner or inner[k].shape != own[k].shape]
    if strange:
        raise ValueError(
            f"init={source} is no network of model.arch={network.spec['arch']!r}: {len(strange)}"
            f" tensors differ, such as {strange[0]!r}"
        )
    if {*state} == {*whole}:
        fitting = {k: v for k, v in state.items() if v.shape == whole[k].shape}
    else:
        fitting = {k: inner[INNER.sub("", k)] for k in whole if INNER.match(k)}
    network.load_state_dict(fitting, strict=False)
    names = [key for key in whole if not key.endswith(("encoder.mean", "encoder.std"))]
    return _loaded(names, fitting, lambda key: key.removeprefix("backbone.").partition(".")[0])


def _loaded(names: Iterable[str], fitting: Collection[str], part: Callable[[str], str]) -> Loaded:
    """How many of `names` are fitting, by parts, in the order of their first names."""
    found: Loaded = {}
    for name in names:
        count, every = found.get(part(name), (0, 0))
        found[part(name)] = count + (name in fitting), every + 1
    return found


INNER = re.compile(r"^(backbone\.)?encoder\.net\.")
"""What stands before timm's own keys in a network for another task."""


def save_network(
    folder: Path, network: Any, size: int, classes: Sequence[str], crop: float = 1.0
) -> None:
    """Writes the network alone: timm's own keys and `config.json`; for another task, all of it."""
    if not isinstance(network, Classifier):
        _save_other(folder, network, size, classes)
        return
    net: Any = reorder(deepcopy(network.net).cpu(), torch.contiguous_format)
    mean, std = (network.get_buffer(name).flatten().tolist() for name in ("mean", "std"))
    facts = {
        "input_size": (3, size, size),
        "mean": mean,
        "std": std,
        "crop_pct": crop,
        "interpolation": "bilinear",
    }
    temporary = folder / "network.tmp"
    timm.models.save_for_hf(
        net,
        str(temporary),
        model_config={"label_names": list(classes)},
        safe_serialization=True,
        data_config=facts,
    )
    for name in ("config.json", "model.safetensors"):
        os.replace(temporary / name, folder / name)
    temporary.rmdir()


def _save_other(folder: Path, network: Any, size: int, classes: Sequence[str]) -> None:
    """Writes what `load_network` reads."""
    mean, std = (network.encoder.get_buffer(k).flatten().tolist() for k in ("mean", "std"))
    name = next(name for name, kind in SPECS.items() if isinstance(network, kind))
    facts = {
        name: {**network.spec, "size": size, "mean": mean, "std": std},
        "num_classes": network.num_classes,
        "label_names": list(classes),
    }
    save_file(plain(network.state_dict()), folder / "model.tmp")
    (folder / "config.tmp").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    os.replace(folder / "config.tmp", folder / "config.json")
    os.replace(folder / "model.tmp", folder / "model.safetensors")


def reorder(module: Any, memory_format: torch.memory_format) -> Any:
    """The module, with its convolutions' weights in that order of memory."""
    return module.to(memory_format=memory_format)


def plain(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors as safetensors wants them: on the CPU, contiguous, none sharing memory."""
    return {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in state.items()
    }
