"""Imports point one way: a module may import only from the layers before its own in this list."""

import ast
from collections.abc import Iterator
from pathlib import Path

import cohobate

PACKAGE = Path(cohobate.__file__).parent
LAYERS = [
    {"core", "followed"},
    {"losses", "distributed", "words", "outcomes"},
    {"models"},
    {"modules"},
    {"methods"},
    {"data", "evaluate", "pixelwise", "boxwise", "cost"},
    {"tasks", "lineage"},
    {"optim", "interrupt", "peak", "rundir", "display", "watch", "weights", "fast"},
    {"engine", "ending", "loggers", "recorded", "tables"},
    {"mistakes"},
    {"config"},
    {"stages"},
    {"defaults"},
    {"build", "machine"},
    {"teachers", "recall"},
    {"analysis", "trained", "transfer"},
    {"opening", "scene", "sitters", "stand"},
    {"scores"},
    {"viewed"},
    {"train", "linear", "explain", "analyse", "predict", "stopwatch"},
    {"elsewhere"},
    {"bench", "budget", "catalogue", "earlier", "evaluation", "jobs"},
    {"planning"},
    {"study"},
    {"card", "demo", "downstream"},
    {"export"},
    {"cli"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def parts(package: Path) -> dict[Path, str]:
    """The file of every module, and the part of the package that it belongs to."""
    files = {path: path.relative_to(package).parts[0] for path in package.rglob("*.py")}
    ends = {"__init__.py", "__main__.py"}  # the package itself, above all its parts
    return {path: part.removesuffix(".py") for path, part in files.items() if part not in ends}


def imported(path: Path) -> Iterator[str]:
    """The parts of the package that a module imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno} is a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "cohobate":
                yield rest.partition(".")[0]


def wrong(package: Path) -> list[str]:
    """The imports that point the wrong way; a part may import from itself."""
    return [
        f"{path.relative_to(package)} imports {other or 'cohobate'}"
        for path, part in parts(package).items()
        for other in imported(path)
        if other != part and not RANK.get(other, 99) < RANK[part]
    ]


def test_every_part_has_a_layer():
    assert set(parts(PACKAGE).values()) == set(RANK)


def test_imports_point_one_way():
    assert wrong(PACKAGE) == []


def test_a_wrong_import_is_found(tmp_path):
    lines = {
        "core.py": "import torch",
        "losses/logits.py": "from cohobate.core import Batch\nfrom cohobate.losses import hint",
        "distributed.py": "from cohobate.losses import kl",  # beside, not before
        "models/net.py": "def late():\n    from cohobate.methods.kd import KD",
        "engine.py": "from cohobate import build, core",
        "config.py": "import cohobate",  # all of it
        "optim.py": "from cohobate import Batch",  # through the door of the package
        "__init__.py": "from cohobate.cli import main",
    }
    for name, text in lines.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(wrong(tmp_path)) == [
        "config.py imports cohobate",
        "distributed.py imports losses",
        "engine.py imports build",
        "models/net.py imports methods",
        "optim.py imports Batch",
    ]
