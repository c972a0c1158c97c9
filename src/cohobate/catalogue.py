"""What the methods are, take and cost, as people read it: all of it from their classes."""

import inspect
import json
import re
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import torch

from cohobate.core import Method
from cohobate.cost import cost
from cohobate.defaults import teacher_choices
from cohobate.methods import FAMILIES, METHODS, find_method
from cohobate.stopwatch import NETWORKS, Case, build_method

MEASURED = Case(model="cifar_resnet20")
"""The network, its teacher, and the images that costs are told for."""
COSTS = Path(__file__).with_name("methods") / "costs.json"
"""What `ratio` gives of every method, counted beforehand by docs/make.py."""
JOURNALS = ("Nature", "TNNLS", "TPAMI", "JMLR", "IJCV", "TIP", "Pattern Recognition")


TARGETS = {"segmentation": "masks", "detection": "boxes"}
"""What the images of other tasks come with."""


class Citation(NamedTuple):
    """Where a method comes from. authors: as the docstring has them, "A et al." or "A and B"."""

    authors: str
    title: str
    venue: str
    year: str
    link: str


class Recipe(NamedTuple):
    """What is no method but a run file with stages."""

    idea: str
    paper: str
    link: str
    file: str


RECIPES = {
    "born_again": Recipe(
        "A network learns from one like it that was trained before, generation by generation.",
        "Furlanello et al., ICML 2018",
        "https://arxiv.org/abs/1805.04770",
        "runs/cifar100/resnet18/born_again.toml",
    ),
    "takd": Recipe(
        "A small network learns from a large one by way of an assistant between the two sizes.",
        "Mirzadeh et al., AAAI 2020",
        "https://arxiv.org/abs/1902.03393",
        "runs/cifar100/resnet20/takd.toml",
    ),
}
"""Known names of methods that stages of a run make of others."""


class Page(NamedTuple):
    """A method's docstring in its parts.

    idea: the first sentence. about: what follows the citation, up to the options; options: the
    meaning of each; differs: what is not as the paper has it, or "".
    """

    idea: str
    citation: Citation
    about: str
    options: dict[str, str]
    differs: str


def read(kind: type[Method]) -> Page:
    """The parts of a method's docstring. Raises ValueError where it cites nothing."""
    idea, *paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(kind.__doc__ or ""))
    citation, about, options, differs = None, list[str](), dict[str, str](), list[str]()
    for paragraph in paragraphs:
        text = " ".join(paragraph.split())
        if citation is None and (cited := _CITATION.match(text)):
            citation = Citation(*(cited[part] for part in Citation._fields))
            about.append(text[cited.end() :].lstrip(" ,.:;"))
        elif text.startswith("Differs from the paper"):
            differs.append(text.partition(": ")[2])
        elif differs:
            differs.append(text)
        elif entries := _options(paragraph):
            options.update(entries)
        else:
            about.append(text)
    if citation is None:
        raise ValueError(
            f"{kind.__name__} cites no paper: write 'A et al., \"Title\", VENUE YEAR, URL'"
        )
    whole = "\n\n".join(_sentence(text) for text in about if text)
    return Page(" ".join(idea.split()), citation, whole, options, "\n\n".join(differs))


_CITATION = re.compile(
    r'(?P<authors>[^"]+?), "(?P<title>[^"]+?),?",? (?P<venue>[^"]*?),? ?(?P<year>(?:19|20)\d\d),'
    r" (?P<link>https?://[^\s,;)]*[^\s.,:;)])"
)


def _options(paragraph: str) -> dict[str, str]:
    """The meanings of the options that a paragraph is a list of: `name[, name]: meaning`."""
    found = dict[str, str]()
    for entry in re.split(r"\n(?=\S)", paragraph):
        names, colon, meaning = entry.partition(": ")
        if not colon or not re.fullmatch(r"\w+(, \w+)*", names):
            return {}
        found |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return found


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] if re.match(r"[a-z]\w+ ", text) else text


def family(kind: type[Method]) -> str:
    """What a method has in common with others; "" where it is from outside."""
    return next((name for name, kinds in FAMILIES.items() if kind in kinds), "")


def needs(kind: type[Method]) -> list[str]:
    """What a method asks for beside images and labels."""
    asked = inspect.signature(kind).parameters
    found = []
    if "teacher" in asked:
        wanted = get_type_hints(kind.__init__)["teacher"]
        other = next((name for name, known in METHODS.items() if known is wanted), "")
        found.append(f"teacher ({other})" if other else "teacher")
    if "classification" not in kind.tasks:
        found += [TARGETS[task] for task in kind.tasks]
    if kind.views > 1:
        found.append(f"{kind.views} views")
    companions = asked["companions"].default if "companions" in asked else kind.companions
    if companions:
        found.append("pairs" if companions == 1 else f"{companions + 1} of a class")
    if kind.mixes:
        found.append("its own mixing")
    if kind.repeats:
        found.append("repeated images")
    if "samples" in asked:
        found.append("memory")
    return found


@cache
def training_cost(case: Case) -> dict[str, float]:
    """What training takes for each image: see `cohobate.cost`."""
    return cost(_measured(case), case.size)


def ratio(name: str) -> float:
    """What a training step by a method computes, that of `supervised` being 1."""
    costs = training_cost(_case(name))
    return costs["step_macs"] / costs["supervised_macs"]


def _case(name: str) -> Case:
    """What a method is measured on: a network for the first of its tasks."""
    return replace(MEASURED, method=name, task=find_method(name).tasks[0])


def _measured(case: Case) -> Method:
    with torch.device("meta"):
        return build_method(case)


def page(name: str) -> str:
    """What a method is, takes and costs, and how to cite it; of a recipe, where it is: Markdown."""
    if name in RECIPES:
        recipe = RECIPES[name]
        return (
            f"# {name}\n\n{recipe.idea}\n\n{recipe.paper}, {recipe.link}.\n\nThis is no method of its own"
            f" but a run file with [[before]] stages, each of which trains with `supervised` or `kd`:"
            f" `cohobate train {recipe.file}`, of the repository; `cohobate explain` tells its stages."
        )
    kind = find_method(name)
    told = read(kind)
    authors, title, venue, year, link = told.citation
    facts = [f"Family: {family(kind) or 'from outside the package'}."]
    if asked := needs(kind):
        facts.append(f"Needs: {', '.join(asked)}.")
    if kind.recalls != "nothing":
        facts.append("What the teacher says can be [recalled](../recall.md) from the disk.")
    parts = [
        f"# {name}",
        told.idea,
        f"{authors}, [{title}]({link}), {' '.join((venue, year)).strip()}.",
    ]
    parts += [told.about] * bool(told.about) + [" ".join(facts), "## Options"]
    parts += [f"```toml\n{settings(name, kind)}\n```"]
    if rows := [f"| `{key}` | {_cell(text)} |" for key, text in told.options.items()]:
        parts.append("\n".join(["| option | meaning |", "| --- | --- |", *rows]))
    parts += ["## Cost", _costs(name)]
    if told.differs:
        parts += ["## Differs from the paper", _sentence(told.differs)]
    parts += ["## BibTeX", f"```bibtex\n{bibtex(name, told.citation)}\n```"]
    return "\n\n".join(parts) + "\n"


def _costs(name: str) -> str:
    words = {
        "training_macs": ("multiply-adds of an image, forward (M)", 6),
        "training_bytes": ("kept for the backward pass, of an image (MB)", 6),
        "trained_parameters": ("parameters that are trained (M)", 6),
        "step_macs": ("multiply-adds of a step, there and back, of an image (M)", 6),
    }
    rows = []
    case = _case(name)
    both = training_cost(replace(case, method="supervised")), training_cost(case)
    for key, (meaning, power) in words.items():
        theirs, ours = (costs[key] / 10**power for costs in both)
        rows.append(f"| {meaning} | {theirs:,.2f} | {ours:,.2f} | {ours / theirs:.2f} |")
    given = NETWORKS.get(case.task, {})
    more = "".join(f' with `model.{key}="{value}"`' for key, value in given.items())
    network = f"`{MEASURED.model}`{more} at {MEASURED.size} pixels with {MEASURED.classes} classes"
    taught = (
        ", and a teacher like it"
        if "teacher" in inspect.signature(find_method(name)).parameters
        else ""
    )
    head = [f"| {network}{taught} | supervised | {name} | ratio |", "| --- | ---: | ---: | ---: |"]
    last = "What is deployed is the network alone. `cohobate explain RUN.toml` tells it for another network."
    return "\n".join([*head, *rows]) + f"\n\n{last}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def settings(name: str, kind: type[Method]) -> str:
    """A method's table in a run file: every option with its default, and what it may be."""
    lines = ["[method]", f'name = "{name}"']
    hints = get_type_hints(kind.__init__, include_extras=True)
    for key, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or key == "samples":
            continue
        if key == "teacher":
            lines.append(f'teacher = "…"  # {teacher_choices(hints[key])}')
        elif parameter.default is None:
            lines.append(f"# {key} is left away, or: {_kind(hints[key])}")
        else:
            lines.append(f"{key} = {_toml(parameter.default)}  # {_kind(hints[key])}")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr([*value] if isinstance(value, tuple) else value).replace("'", '"')


def _kind(hint: Any) -> str:
    """An option's type as people read it: `float, > 0`,
    `float, ≥ 0, in epochs` or `"paper" or "released"`."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_kind(part) for part in get_args(hint) if part is not type(None))
    base, *bounds = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(base) is tuple:
        return f"list of {_kind(get_args(base)[0])}"
    if get_origin(base) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(base))
    signs = {"Gt": ">", "Ge": "≥", "Lt": "<", "Le": "≤"}
    limits = [
        b if isinstance(b, str) else f"{signs[type(b).__name__]} {next(iter(asdict(b).values()))}"
        for b in bounds
    ]
    return ", ".join([getattr(base, "__name__", str(base)), *limits])


def bibtex(name: str, citation: Citation) -> str:
    """An entry for a bibliography; "others" stand for the authors that the docstring leaves out."""
    authors, title, venue, year, link = citation
    fields = {"title": f"{{{title}}}", "author": authors.replace(" et al.", " and others")}
    kind = "misc"
    if venue:
        kind = "article" if venue.startswith(JOURNALS) else "inproceedings"
        fields["journal" if kind == "article" else "booktitle"] = venue
    fields |= {"year": year, "url": link}
    key = re.sub(r"\W", "", authors.split()[0].lower()) + year + name.replace("_", "")
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def rows() -> list[tuple[str, ...]]:
    """Of every method, by family: name, family, paper, what it needs, its cost, and a link."""
    costs, found = json.loads(COSTS.read_text(encoding="utf-8")), []
    for each, kinds in FAMILIES.items():
        for kind in kinds:
            name, (authors, _, venue, year, link) = name_of(kind), read(kind).citation
            paper = f"{authors}, {' '.join((venue, year)).strip()}"
            found.append((name, each, paper, ", ".join(needs(kind)), f"{costs[name]:.2f}", link))
    return found


def recipes() -> list[tuple[str, ...]]:
    """Of every recipe what `rows` has of methods: the run file stands for the costs of its stages."""
    return [
        (name, "recipes: run files with stages", each.paper, each.file, "–", each.link)
        for name, each in RECIPES.items()
    ]


def name_of(kind: type[Method]) -> str:
    """The name of a method of the table."""
    return next(name for name, known in METHODS.items() if known is kind)
