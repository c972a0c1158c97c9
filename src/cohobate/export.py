"""The deployed network in a file that runs without cohobate, held against PyTorch, and its card."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from cohobate import card
from cohobate.analysis.runs import Run
from cohobate.core import out_of_memory, require, unknown
from cohobate.data.draws import generator
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


class Format(NamedTuple):
    """A form of a network.

    file: its name, if no other is asked for.
    write: writes it.
    read: opens a file, as what it makes of images.
    packages: those of the extra of the same name that are needed.
    """

    file: str
    write: Callable[[ExportedProgram, Path], None]
    read: Callable[[Path], Callable[[Tensor], Tensor]]
    packages: tuple[str, ...] = ()


class Exported(NamedTuple):
    """What was written, and the largest difference to PyTorch that was found and is allowed."""

    file: Path
    card: Path
    difference: float
    allowed: float
    batches: tuple[int, ...]


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
    or (B, K, S, S) of a class for every pixel.

    form: "onnx" or "torch-export".
    out: a folder, where timm's own files are put, too; or a file that ends as the form does. By
        default a folder in that of the run, named as the form.
    batch: the number of images that the file is for; None for any.
    table: the folder of a comparison, whose row of this run goes into the card.
    Raises ValueError where the folder holds no finished run, or one of a task that is not exported,
    the form is unknown or its packages are not installed, the place is taken, or the file does not
    do what PyTorch does.
    """
    if form not in FORMATS:
        raise unknown("--format", form, FORMATS)
    chosen = FORMATS[form]
    require(f"--format {form}", form, chosen.packages)
    run = Run.read(folder)
    if run.task_name not in card.KINDS:
        raise ValueError(
            f"{folder} is a run of task={run.task_name}, whose networks are not exported: choose from"
            f" {', '.join(card.KINDS)}"
        )
    network = load_network(folder).eval()
    row = card.row(run, table)
    file, page = _places(run.path, form, out)
    network.requires_grad_(False)
    sizes = (batch,) * len(BATCHES) if batch else BATCHES
    program = trace(network, batch)
    with TemporaryDirectory(dir=file.parent, prefix="export-") as temporary:
        tried = Path(temporary, file.name)
        with _refusal(network, batch):
            _quietly(chosen.write, program, tried)
            difference, allowed = compare(network, _quietly(chosen.read, tried), sizes)
        if not difference <= allowed:
            raise ValueError(
                f"the {form} file says other logits than PyTorch: they differ by {difference:.1e},"
                f" and {allowed:.1e} is allowed; nothing was written"
            )
        for path in Path(temporary).iterdir():
            os.replace(path, file.with_name(path.name))
    home = run.path
    if page.name == card.NAME:
        home = file.parent
        for name in ("config.json", "model.safetensors"):
            if not (home / name).exists() or not (home / name).samefile(run.path / name):
                shutil.copyfile(run.path / name, home / name)
    text = card.write(run, network, row, form=form, file=file, home=home, batch=batch)
    page.write_text(text, encoding="utf-8")
    return Exported(file, page, difference, allowed, sizes)


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
    network: Any, other: Callable[[Tensor], Tensor], sizes: Sequence[int]
) -> tuple[float, float]:
    """The largest difference of two networks' logits on batches of noise, and what is allowed."""
    differences, largest = [torch.zeros(())], [torch.ones(())]
    for number, size in enumerate(sizes):
        shape = (size, 3, network.size, network.size)
        images = torch.rand(shape, generator=generator(0, number))
        with torch.no_grad():
            expected = network(images)
        differences.append((other(images) - expected).abs().max())
        largest.append(expected.abs().max())
    return float(torch.stack(differences).max()), TOLERANCE * float(torch.stack(largest).max())


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


def _write_onnx(program: ExportedProgram, file: Path) -> None:
    size = sum(weight.nbytes for weight in program.state_dict.values())
    torch.onnx.export(
        program,
        f=file,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=ANY_NUMBER if program.range_constraints else None,
        external_data=size > PROTOBUF,
        verbose=False,
    )


def _read_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _write_torch(program: ExportedProgram, file: Path) -> None:
    torch.export.save(program, file)


def _read_torch(file: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(file).module()


FORMATS = {
    "onnx": Format("model.onnx", _write_onnx, _read_onnx, ("onnx", "onnxruntime", "onnxscript")),
    "torch-export": Format("model.pt2", _write_torch, _read_torch),
}
