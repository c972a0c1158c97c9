"""Networks with the weights that a run, a file or timm holds."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from cohobate.models import Classifier


def load_timm(arch: str, num_classes: int) -> Classifier:
    """A pretrained network of timm's with the classes that it was trained on."""
    own = Classifier(arch, num_classes).net.default_cfg.get("num_classes", num_classes)
    return Classifier(arch, own, pretrained=True)


def load_network(folder: str | Path) -> Classifier:
    """The network that a run, or timm itself, left in a folder: `model.safetensors`, `config.json`.

    Raises ValueError where there is none, or it is damaged.
    """
    folder = Path(folder)
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        classes = facts.get("num_classes") or facts["pretrained_cfg"]["num_classes"]
        return Classifier(f"local-dir:{folder}", classes, pretrained=True)
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds no trained network (model.safetensors with timm's config.json): give"
            " the folder of a run that is done"
        ) from None
    except (KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"the network in {folder} is damaged: {error}") from error


def start_from(network: Classifier, source: str) -> None:
    """Loads the weights of a run folder or file; a classifier of other classes stays as it is."""
    path = Path(source)
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"init={source}: there is no {path}; give a run folder or a .safetensors file"
        )
    state = load_file(path)
    mine = network.net.state_dict()
    shapes = {key for key in state if key in mine and state[key].shape != mine[key].shape}
    heads = [*network.head()]
    ends = tuple(f"{name}." for name, part in network.net.named_modules() if part in heads)
    strange = sorted(key for key in {*state} ^ {*mine} | shapes if not key.startswith(ends))
    if strange:
        raise ValueError(
            f"init={source} is no network of model.arch={network.spec['arch']!r}: {len(strange)}"
            f" tensors differ, such as {strange[0]!r}"
        )
    network.net.load_state_dict({k: v for k, v in state.items() if k not in shapes}, strict=False)
