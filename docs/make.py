"""Writes what documentation says of the methods from their classes.

    python docs/make.py

A page for each, `docs/methods/NAME.md`, of which only what stands above the line "by hand" is
written anew; their index; the table in README.md; and the costs that `cohobate methods` lists.
A test holds all of it to the code.
"""

import json
import re
from pathlib import Path

from cohobate import catalogue
from cohobate.methods import FAMILIES, METHODS

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "methods"
BY_HAND = "<!-- by hand -->"
TABLE = re.compile(r"(?s)(<!-- methods -->\n).*?(<!-- end -->)")


def page(name: str) -> str:
    """The page of a method: what its class says, and what somebody wrote below."""
    path = PAGES / f"{name}.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    _, line, by_hand = old.partition(BY_HAND)
    return catalogue.page(name) + (f"\n{line}{by_hand}" if line else "")


def index() -> str:
    """All methods with their ideas and needs, family by family."""
    parts = ["# Methods", f"{len(METHODS)} methods; `cohobate methods` lists them with their cost."]
    for family, kinds in FAMILIES.items():
        lines = ["| `method.name` | idea | needs |", "| --- | --- | --- |"]
        for kind in kinds:
            name, idea = catalogue.name_of(kind), catalogue.read(kind).idea
            lines.append(f"| [`{name}`]({name}.md) | {idea} | {', '.join(catalogue.needs(kind))} |")
        parts += [f"## {family[0].upper()}{family[1:]}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def readme() -> str:
    """README.md with the names of all methods in its table."""
    lines = ["| family | `method.name` |", "| --- | --- |"]
    for family, kinds in FAMILIES.items():
        names = (catalogue.name_of(kind) for kind in kinds)
        links = ", ".join(f"[`{name}`](docs/methods/{name}.md)" for name in names)
        lines.append(f"| {family} | {links} |")
    table = "\n".join(lines)
    old = (ROOT / "README.md").read_text(encoding="utf-8")
    return TABLE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", old)


def costs() -> str:
    """The cost of every method, as JSON."""
    return json.dumps({name: round(catalogue.ratio(name), 2) for name in METHODS}, indent=2) + "\n"


def main() -> None:
    catalogue.COSTS.write_text(costs(), encoding="utf-8")
    for name in METHODS:
        (PAGES / f"{name}.md").write_text(page(name), encoding="utf-8")
    (PAGES / "index.md").write_text(index(), encoding="utf-8")
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main()
