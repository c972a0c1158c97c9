"""The page of every method says what the code does: its options, and what it costs."""

import inspect
import re

import pytest

from cohobate import build, config
from cohobate.explain import explain
from cohobate.methods import METHODS
from places import ROOT

PAGES = ROOT / "docs" / "methods"


@pytest.fixture(params=METHODS)
def name(request, monkeypatch) -> str:
    monkeypatch.chdir(ROOT)
    return request.param


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def table(text: str, heading: str) -> list[list[str]]:
    """The rows below the head of the table in a section."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_page_has_every_section(name):
    text = page(name)
    wanted = ["Who teaches whom", "Formula", "Options", "Cost", "References"]
    assert [heading for heading in wanted if f"\n## {heading}\n" not in text] == []
    assert "```mermaid\nflowchart" in text
    assert "$$" in text
    assert "https://" in text
    assert f"[`{name}`]({name}.md)" in (PAGES / "index.md").read_text(encoding="utf-8")


def shown(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "needed"
    if default is None:
        return "not set"
    text = str(default).lower() if isinstance(default, bool) else repr(default).replace("'", '"')
    return f"`{text}`"


def test_options_are_those_of_the_class(name):
    options = {
        f"`{key}`": shown(parameter.default)
        for key, parameter in inspect.signature(METHODS[name]).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key != "samples"
    }
    rows = table(page(name), "Options")
    assert {key: default for key, default, _ in rows} == options
    assert all(meaning for *_, meaning in rows)


def test_cost_is_what_its_command_prints(name):
    found = re.search(r"cohobate explain (\S+)(.*)", page(name))
    assert found, "the page names the command that measured the cost"
    resolved, _ = build.resolve(config.load(found[1], found[2].split()))
    assert resolved.method.name == name
    assert table(page(name), "Cost") == [list(row) for row in explain(resolved).costs]


def test_links_to_files_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page(name)):
        assert (PAGES / target).exists(), target
