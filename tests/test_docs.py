"""What documentation says of the methods is what their classes say, and it can be built."""

import importlib.util
import re
import subprocess
import sys

import pytest

from cohobate import Classifier, catalogue
from cohobate.methods import METHODS
from places import ROOT

PAGES = ROOT / "docs" / "methods"
spec = importlib.util.spec_from_file_location("make", ROOT / "docs" / "make.py")
assert spec and spec.loader
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)

AGAIN = "run `python docs/make.py`"


@pytest.mark.parametrize("name", METHODS)
def test_page_is_made_from_the_class(name):
    assert (PAGES / f"{name}.md").read_text(encoding="utf-8") == make.page(name), AGAIN


@pytest.mark.parametrize("name", METHODS)
def test_every_option_has_a_meaning(name):
    taken = re.findall(r"(?m)^#? ?(\w+) (?:=|is left)", catalogue.settings(name, METHODS[name]))
    assert [*catalogue.read(METHODS[name]).options] == [key for key in taken if key != "name"]


def test_lists_are_made_from_the_table():
    assert (PAGES / "index.md").read_text(encoding="utf-8") == make.index(), AGAIN
    assert (ROOT / "README.md").read_text(encoding="utf-8") == make.readme(), AGAIN
    assert catalogue.COSTS.read_text(encoding="utf-8") == make.costs(), AGAIN


def test_every_page_is_of_a_method():
    assert {page.stem for page in PAGES.glob("*.md")} == {*METHODS, "index"}


@pytest.mark.parametrize(
    "line, expected",
    [
        ('A et al., "A Title, with Commas", CVPR 2021, https://x.org/1.', ("A et al.", "CVPR", "2021")),
        ('A and B, "Of Year 2000", 2015, https://x.org/1, equation 3.', ("A and B", "", "2015")),
        ('A, "T", Nature 323, 1986, https://x.org/1.', ("A", "Nature 323", "1986")),
    ],
)  # fmt: skip
def test_a_citation_is_read(line, expected):
    kind = type("Kind", (METHODS["supervised"],), {"__doc__": f"An idea.\n\n{line}"})
    authors, _, venue, year, link = catalogue.read(kind).citation
    assert (authors, venue, year, link) == (*expected, "https://x.org/1")


def test_a_method_that_cites_nothing_is_told_how():
    kind = type("Kind", (METHODS["supervised"],), {"__doc__": "An idea."})
    with pytest.raises(ValueError, match="Kind cites no paper: write"):
        catalogue.read(kind)


def test_bibtex_names_the_kind_of_source():
    found = {
        name: catalogue.bibtex(name, catalogue.read(kind).citation)
        for name, kind in METHODS.items()
    }
    assert found["kd"].startswith("@misc{hinton2015kd,\n")
    assert found["hssakd"].startswith("@article{yang2022hssakd,\n")
    assert "  author = {Hinton and others},\n" in found["kd"]
    assert all(text.count("{") == text.count("}") for text in found.values())


def test_the_example_of_extending_runs():
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    place: dict = {}
    exec(text.partition("```python\n")[2].partition("```")[0], place)
    model = Classifier("cifar_resnet8", 5)
    assert place["Halved"](model).weight == 0.5


@pytest.mark.slow
def test_the_documentation_is_built_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "methods" / "pskd" / "index.html").is_file()
