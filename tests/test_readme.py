"""The README is true: its Python runs, its commands parse, its run files and links exist."""

import re
import shlex
import textwrap
from pathlib import Path

import pytest
import typer.core

from cohobate import METHODS, config, defaults
from cohobate.cli import app
from processes import Command, Program

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    fenced = re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in fenced]


def commands(text: str) -> list[str]:
    """Every `cohobate …` line in the fenced blocks, and every such code in the text."""
    lines = [line for block in blocks(text, "console") for line in block.splitlines()]
    return [
        line for line in lines + re.findall(r"`(cohobate [^`]*)`", text) if line[:9] == "cohobate "
    ]


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A folder with `runs/`, and the run files that the README has its reader write."""
    (tmp_path / "runs").symlink_to(ROOT / "runs")
    for block in blocks(README, "toml"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_runs(clone):
    """In the order of the README, after the first run that it asks for."""
    program = "\n".join(blocks(README, "python"))
    assert program.count("torch.save(") == 1
    (clone / "program.py").write_text(program, encoding="utf-8")
    smoke = Command("train", "runs/smoke/classification.toml", "optim.epochs=1", cwd=clone)
    assert smoke.finish()[0] == 0
    code, _, err = Program(clone / "program.py", clone).finish()
    assert code == 0, err
    assert (clone / "resnet18.pt").is_file()


@pytest.mark.parametrize("line", sorted({*commands(README), *commands(CONTRIBUTING)}))
def test_command_parses(line, clone):
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    _, name, *arguments = shlex.split(line)
    subcommand = group.commands[name]
    if not arguments:
        return
    arguments = ["runs/smoke/classification.toml" if a == "RUN" else a for a in arguments]
    values = subcommand.make_context(name, arguments).params
    if name == "train":
        defaults.resolve(config.load(values["file"], values["settings"] or []))


def test_every_method_is_in_the_table():
    table = README.partition("\n## Methods\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"\[`(\w+)`\]\(docs/methods/\1\.md\)", table)) == {*METHODS}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_make_targets_exist():
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {
        target
        for text in (README, CONTRIBUTING)
        for block in blocks(text, "console")
        for target in re.findall(r"(?:^|&& )make (\w+)", block, re.M)
    }
    assert named
    assert named <= known


def test_contributing_shows_the_real_code():
    """Each block that names a file is that file's, with `...` for what is left out."""
    *quotes, test = blocks(CONTRIBUTING, "python")
    for quote in quotes:
        name, code = quote.removeprefix("# ").split("\n", 1)
        source = (ROOT / name).read_text(encoding="utf-8")
        for piece in code.split("...\n"):
            assert textwrap.dedent(piece).strip() in textwrap.dedent(source) or piece in source
    space: dict = {}
    exec(test, space)
    space["test_label_smoothing_is_its_formula"]()
