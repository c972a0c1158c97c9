"""The deployed network in a file that runs without cohobate, held against PyTorch, and its card."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from math import inf, isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cohobate import card
from cohobate.analysis.runs import Run
from cohobate.core import out_of_memory, require, unknown
from cohobate.data.draws import generator
from cohobate.data.framing import CELL
from cohobate.models import Detector
from cohobate.models.heads import OneStage
from cohobate.rundir import check_folder
from cohobate.weights import load_network, reorder

TOLERANCE = 1e-4
"""How far a logit may be from PyTorch's, as a share of the largest one (of 1 where that is less)."""
BATCHES = (1, 2, 7)
"""The numbers of images that a file for any number of them is tried on."""
ANY_NUMBER = ({0: Dim("batch", min=1)},)
"""Of the sides of the images, the one that a file is not bound to."""
PROTOBUF = 2**31 - 2**24
"""An ONNX file of more bytes is none: the weights then lie beside it."""


Answers = Tensor | Sequence[Tensor]
"""What a network gives: an output, or several."""


class Format(NamedTuple):
    """A form of a network.

    file: its name, if no other is asked for.
    write: writes it.
    read: opens a file, as what it makes of images, one output or several.
    packages: those of the extra of the same name that are needed.
    """

    file: str
    write: Callable[[ExportedProgram, Path, Sequence[str]], None]
    read: Callable[[Path], Callable[[Tensor], Answers]]
    packages: tuple[str, ...] = ()


class Exported(NamedTuple):
    """What was written, and the largest difference to PyTorch that was found and is allowed.

    outputs: the names of what the file gives.
    """

    file: Path
    card: Path
    difference: float
    allowed: float
    batches: tuple[int, ...]
    outputs: tuple[str, ...]


class Everywhere(nn.Module):
    """A detector as a file holds it: what it says at every place, before suppression.

    Raises ValueError for one that proposes boxes first: how many those are is no fixed number.
    """

    def __init__(self, detector: Detector):
        super().__init__()
        if not isinstance(detector.heads, OneStage):
            raise ValueError(
                f"model.detector={detector.spec['detector']!r} cannot be exported: the boxes that it"
                " proposes before it classifies them are of no fixed number; a detector of one stage"
                ' can, "fcos" or "retinanet"'
            )
        self.detector, self.spec = detector, detector.spec
        self.size = -(-detector.size // CELL) * CELL

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.detector.every(images)


def export(
    folder: str | Path,
    form: str,
    out: Path | None = None,
    *,
    batch: int | None = None,
    table: Path | None = None,
) -> Exported:
    """Writes the network of a run in another form, tries it, and writes its card beside it.

    The network takes images (B, 3, S, S) in [0, 1], normalises them itself, and gives logits (B, K),
    or (B, K, S, S) of a class for every pixel. A detector of one stage gives boxes (B, N, 4) and scores
    (B, N, K) of every place, before suppression.

    form: "onnx" or "torch-export".
    out: a folder, where timm's own files are put, too; or a file that ends as the form does. By
        default a folder in that of the run, named as the form.
    batch: the number of images that the file is for; None for any.
    table: the folder of a comparison, whose row of this run goes into the card.
    Raises ValueError where the folder holds no finished run, or a detector of two stages,
    the form is unknown or its packages are not installed, the place is taken, or the file does not
    do what PyTorch does.
    """
    if form not in FORMATS:
        raise unknown("--format", form, FORMATS)
    chosen = FORMATS[form]
    require(f"--format {form}", form, chosen.packages)
    run = Run.read(folder)
    network = load_network(folder).eval()
    detects = isinstance(network, Detector)
    deployed: Any = Everywhere(network) if detects else network
    outputs = ("boxes", "scores") if detects else ("logits",)
    row = card.row(run, table)
    file, page = _places(run.path, form, out)
    network.requires_grad_(False)
    sizes = (batch,) * len(BATCHES) if batch else BATCHES
    program = trace(deployed, batch)
    with TemporaryDirectory(dir=file.parent, prefix="export-") as temporary:
        tried = Path(temporary, file.name)
        with _refusal(deployed, batch):
            _quietly(chosen.write, program, tried, outputs)
            difference, allowed = compare(deployed, _quietly(chosen.read, tried), sizes)
        if not difference <= allowed:
            raise ValueError(
                f"the {form} file says other {' and '.join(outputs)} than PyTorch: they differ by"
                f" {difference:.1e}, and {allowed:.1e} is allowed; nothing was written"
            )
        for path in Path(temporary).iterdir():
            os.replace(path, file.with_name(path.name))
    home = run.path
    if page.name == card.NAME:
        home = file.parent
        for name in ("config.json", "model.safetensors"):
            if not (home / name).exists() or not (home / name).samefile(run.path / name):
                shutil.copyfile(run.path / name, home / name)
    place = {"form": form, "file": file, "home": home}
    given = {"batch": batch, "side": deployed.size, "outputs": outputs}
    page.write_text(card.write(run, network, row, **place, **given), encoding="utf-8")
    return Exported(file, page, difference, allowed, sizes, outputs)


def trace(network: Any, batch: int | None) -> ExportedProgram:
    """The network as a graph, for `batch` images or any number of them.

    Raises ValueError where it cannot be had.
    """
    network = reorder(deepcopy(network).cpu(), torch.contiguous_format)
    images = torch.rand(batch or 2, 3, network.size, network.size, generator=generator(0))
    shapes = None if batch else ANY_NUMBER
    with _refusal(network, batch):
        return _quietly(torch.export.export, network, (images,), dynamic_shapes=shapes)


@contextmanager
def _refusal(network: Any, batch: int | None) -> Iterator[None]:
    """Turns whatever an exporter raises, and it raises anything, into a ValueError."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error) or isinstance(error, OSError):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        advice = "" if batch else "; --batch 1 may do, for one image at a time"
        number = batch or "any number of"
        raise ValueError(
            f"{network.spec['arch']!r} cannot be exported for {number} images: {reason}{advice}"
        ) from error


def compare(
    network: Any, other: Callable[[Tensor], Answers], sizes: Sequence[int]
) -> tuple[float, float]:
    """The largest difference of two networks' answers to batches of noise, and what is allowed.

    Of several outputs, of that which comes nearest to what is allowed, or goes farthest beyond: of one
    that is no number, before all others.
    """
    found: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for number, size in enumerate(sizes):
        shape = (size, 3, network.size, network.size)
        images = torch.rand(shape, generator=generator(0, number))
        with torch.no_grad():
            pairs = zip(_several(network(images)), _several(other(images)), strict=True)
        for output, (expected, told) in enumerate(pairs):
            both = (told - expected).abs().max(), expected.abs().max()
            found.setdefault(output, []).append(both)
    ends = (torch.tensor(pairs).amax(0).tolist() for pairs in found.values())
    bounds = [(difference, TOLERANCE * max(1.0, largest)) for difference, largest in ends]
    return max(bounds, key=lambda pair: inf if isnan(pair[0]) else pair[0] / pair[1])


def _several(answers: Answers) -> Sequence[Tensor]:
    return (answers,) if isinstance(answers, Tensor) else answers


def _places(run: Path, form: str, out: Path | None) -> tuple[Path, Path]:
    """Where the file and its card go. Raises ValueError where something else is there."""
    name = FORMATS[form].file
    out = out or run / form
    end, ends = Path(name).suffix, {Path(each.file).suffix for each in FORMATS.values()}
    if out.suffix in ends and not out.is_dir():
        if out.suffix != end:
            raise ValueError(f"--out {out}: a file of --format {form} ends in {end}")
        file, page = out, out.with_suffix(".md")
    else:
        file, page = out / name, out / card.NAME
    check_folder(file.parent)
    ours = page.is_file() and card.MARK in page.read_text(encoding="utf-8", errors="replace")
    if page.exists() and not ours:
        raise ValueError(f"{page} is there and was not written by this command: name another --out")
    folder = file.parent
    is_own = page.name != card.NAME or folder.resolve() == run.resolve()
    if folder.is_dir() and not ours and not is_own and any(folder.iterdir()):
        raise ValueError(f"--out {folder} holds other files: name an empty folder, or a file")
    folder.mkdir(parents=True, exist_ok=True)
    return file, page


def _quietly(what: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """Calls what warns of things that no user can change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return what(*given, **options)


def _write_onnx(program: ExportedProgram, file: Path, outputs: Sequence[str]) -> None:
    size = sum(weight.nbytes for weight in program.state_dict.values())
    torch.onnx.export(
        program,
        f=file,
        input_names=["images"],
        output_names=[*outputs],
        dynamic_shapes=ANY_NUMBER if program.range_constraints else None,
        external_data=size > PROTOBUF,
        verbose=False,
    )


def _read_onnx(file: Path) -> Callable[[Tensor], Answers]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: [*map(torch.from_numpy, session.run(None, {"images": images.numpy()}))]


def _write_torch(program: ExportedProgram, file: Path, outputs: Sequence[str]) -> None:
    torch.export.save(program, file)


def _read_torch(file: Path) -> Callable[[Tensor], Answers]:
    return torch.export.load(file).module()


FORMATS = {
    "onnx": Format("model.onnx", _write_onnx, _read_onnx, ("onnx", "onnxruntime", "onnxscript")),
    "torch-export": Format("model.pt2", _write_torch, _read_torch),
}
