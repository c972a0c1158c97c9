"""The matrices and pictures of an analysis as PNG files, in Matplotlib."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from cohobate.analysis import precision
from cohobate.analysis.heads import STUDENT
from cohobate.analysis.matrices import NAMED
from cohobate.analysis.paper import BLUES, grid, plain, titled
from cohobate.analysis.pictures import opened
from cohobate.analysis.portrait import Analysis, Portrait

CELL = 0.72
"""Inches of a picture among others."""
GAP = 0.14
"""Inches between two lines of pictures, for a title."""


def figures(analysis: Analysis) -> dict[str, Figure]:
    """Every figure that there is something for, by the name of its file."""
    drawn: dict[str, Figure] = {}
    if analysis.headed:
        drawn["heads"] = heads(analysis)
    for number, portrait in enumerate(analysis.portraits):
        if portrait.mixtures:
            drawn[f"mixtures-{number}"] = mixtures(portrait, analysis.names)
        if portrait.looked:
            drawn[f"attention-{number}"] = attention(portrait, analysis.names)
    if analysis.similarities:
        drawn["similarity"] = similarity(analysis)
    if any(portrait.softness for portrait in analysis.portraits):
        drawn["temperature"] = temperature(analysis)
    if analysis.pictured:
        drawn["pictures"] = pictured(analysis)
    if any(run.curves for run in analysis.seen):
        drawn["precision"] = precision_recall(analysis)
    return drawn


def confusion(analysis: Analysis) -> Figure:
    """A panel a run: of the images of each class (down), the share taken for each class (across)."""
    figure, panels = grid(len(analysis.portraits), size=(3.6, 3.6))
    for axes, portrait in zip(panels, analysis.portraits):
        counts = portrait.confusion.counts
        shares = [[n / max(1, sum(line)) for n in line] for line in counts]
        axes.imshow(shares, cmap=BLUES, norm=PowerNorm(0.35, 0, 1))
        axes.grid(visible=False)
        names = [plain(name, 14) for name in analysis.names] if len(counts) <= NAMED else []
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
        axes.set_yticks(range(len(names)), names, fontsize="small")
        axes.set(xlabel="taken for", ylabel="class")
        titled(axes, portrait.label)
    return figure


def confused(portrait: Portrait, names: Sequence[str]) -> Figure:
    """A line a pair of classes: how many images of the one are taken for the other, and some of them."""
    pairs = portrait.confusion.pairs
    across = max(len(pair.pictures) for pair in pairs)
    rows = [pair.pictures + [""] * (across - len(pair.pictures)) for pair in pairs]
    figure, panels = _pictures(rows, left=1.5)
    for line, pair in zip(panels, pairs):
        true, taken = (plain(names[number], 16) for number in (pair.true, pair.taken))
        text = f"{true}\ntaken for {taken}\n{pair.count}, {100 * pair.share:.1f} %"
        beside = {"transform": line[0].transAxes, "ha": "right", "va": "center", "fontsize": 6}
        line[0].text(-0.1, 0.5, text, **beside)
    return figure


def heads(analysis: Analysis) -> Figure:
    """A panel a run: a bar a head, and a diamond where it tells class and rotation at once."""
    tallest = max(len(portrait.heads) for portrait in analysis.headed)
    figure, panels = grid(len(analysis.headed), size=(3.6, 0.9 + 0.3 * tallest))
    for axes, portrait in zip(panels, analysis.headed):
        colour = analysis.styles[portrait.label].colour
        for place, score in enumerate(portrait.heads):
            alpha = 0.9 if score.name == STUDENT else 0.45
            axes.barh(place, 100 * score.accuracy, color=colour, alpha=alpha)
            if score.joint is not None:
                axes.plot(100 * score.joint, place, "D", color=colour, markeredgecolor="white")
        axes.set_yticks(range(len(portrait.heads)), [score.name for score in portrait.heads])
        axes.invert_yaxis()
        axes.set(xlim=(0, 100), xlabel="accuracy (%)")
        titled(axes, portrait.label)
    return figure


def similarity(analysis: Analysis) -> Figure:
    """A panel a pair of networks: CKA of the stages of one (down) and of the other (across)."""
    figure, panels = grid(len(analysis.similarities), size=(3.2, 3.2))
    for axes, found in zip(panels, analysis.similarities):
        table(axes, found.values, 1, ".2f")
        axes.set_xlabel(f"stages of {plain(found.other, 30)}")
        axes.set_ylabel(f"stages of {plain(found.one, 30)}")
        axes.set_xticks(range(len(found.values[0])), _numbers(found.values[0]))
        axes.set_yticks(range(len(found.values)), _numbers(found.values))
    return figure


def _numbers(values: Sequence[object]) -> list[str]:
    return [str(place) for place, _ in enumerate(values, start=1)]


def temperature(analysis: Analysis) -> Figure:
    """KL and both entropies, a line a run that has a teacher, over the temperature."""
    pairs = [(each.label, each.softness) for each in analysis.portraits if each.softness]
    titles = {
        "kl": "KL (nats)",
        "teacher": "entropy of the teacher",
        "student": "entropy of the student",
    }
    figure, panels = grid(len(titles), size=(4, 1.4 + 0.4 * len(pairs)))
    for axes, (name, title) in zip(panels, titles.items()):
        values = [getattr(found, name) for _, found in pairs]
        table(axes, values, max(map(max, values)), "#.3g")
        axes.set_aspect("auto")
        axes.set_xticks(range(len(values[0])), [f"{t:g}" for t in pairs[0][1].temperatures])
        known = [plain(found.of(label), 24) for label, found in pairs] if axes is panels[0] else []
        axes.set_yticks(range(len(known)), known, fontsize="small")
        axes.set_xlabel("temperature")
        titled(axes, title)
    return figure


def table(axes: Axes, values: Sequence[Sequence[float | None]], top: float, form: str) -> None:
    """Numbers on colours from 0 to `top`; a dash where there is none."""
    known = [[value or 0 for value in line] for line in values]
    axes.imshow(known, cmap=BLUES, vmin=0, vmax=1.5 * top)
    axes.grid(visible=False)
    for down, line in enumerate(values):
        for across, value in enumerate(line):
            text = "–" if value is None else f"{value:{form}}"
            axes.text(across, down, text, ha="center", va="center", fontsize="small")


def mixtures(portrait: Portrait, names: Sequence[str]) -> Figure:
    """A line a mixture: the two images, the mixture, and the likeliest class of each head."""
    rows = [mixed.pictures for mixed in portrait.mixtures]
    figure, panels = _pictures(rows, right=2.6)
    for line, mixed in zip(panels, portrait.mixtures):
        first, second = (plain(names[number], 12) for number in mixed.classes)
        line[0].set_title(f"{mixed.weight:.2f} {first}", fontsize=6, pad=2)
        line[1].set_title(f"{1 - mixed.weight:.2f} {second}", fontsize=6, pad=2)
        said = [
            f"{each.head}: "
            + ", ".join(
                f"{plain(names[c], 12)} {s:.2f}" for c, s in zip(each.classes[:2], each.shares)
            )
            for each in mixed.opinions
        ]
        line[2].text(
            1.1, 0.5, "\n".join(said), transform=line[2].transAxes, va="center", fontsize=6
        )
    return figure


def attention(portrait: Portrait, names: Sequence[str]) -> Figure:
    """A line an image and network: the image, attention of each stage, and Grad-CAM."""
    rows = [
        [seen.picture, *look.pictures, look.cam] for seen in portrait.looked for look in seen.looks
    ]
    said = [
        f"{look.network}\n{plain(names[seen.target], 14)} {look.share:.2f}"
        for seen in portrait.looked
        for look in seen.looks
    ]
    figure, panels = _pictures(rows, left=0.95)
    for line, text in zip(panels, said):
        line[0].text(
            -0.1, 0.5, text, transform=line[0].transAxes, ha="right", va="center", fontsize=6
        )
    for place, axes in enumerate(panels[0][1:-1], start=1):
        axes.set_title(f"stage {place}", fontsize=6, pad=2)
    panels[0][-1].set_title("Grad-CAM", fontsize=6, pad=2)
    return figure


def precision_recall(analysis: Analysis) -> Figure:
    """A panel a run: precision over recall, a line a class."""
    figure, panels = grid(len(analysis.seen), size=(4.2, 3.4))
    for axes, run in zip(panels, analysis.seen):
        precision.printed(axes, run.curves, analysis.classes)
        titled(axes, run.label)
    return figure


def pictured(analysis: Analysis) -> Figure:
    """A line an image and run: image, truth, prediction, and what is wrong with it."""
    pairs = [(one, said) for one in analysis.pictured for said in one.answers]
    rows = [[one.image, one.truth, said.prediction, said.error] for one, said in pairs]
    figure, panels = _pictures(rows, left=1.3, cell=2 * CELL)
    for line, (one, said) in zip(panels, pairs):
        mark = "none" if said.mark is None else f"{100 * said.mark:.1f} %"
        text = f"{plain(said.label, 20)}\n{one.kind}: {analysis.mark} {mark}"
        line[0].text(
            -0.1, 0.5, text, transform=line[0].transAxes, ha="right", va="center", fontsize=6
        )
    for axes, title in zip(panels[0], ("image", "truth", "prediction", "error")):
        axes.set_title(title, fontsize=6, pad=2)
    return figure


def _pictures(
    rows: Sequence[Sequence[str]], *, left: float = 0, right: float = 0, cell: float = CELL
) -> tuple[Figure, list[list[Axes]]]:
    """Pictures in lines, with inches for text beside them; a gap where there is none."""
    across = max(map(len, rows))
    found = [[opened(uri) if uri else None for uri in line] for line in rows]
    tall = cell * max(p.height / p.width for line in found for p in line if p)
    width, height = cell * across + left + right, (tall + GAP) * len(rows) + GAP
    figure = Figure((width, height))
    edges = {"left": left / width, "right": 1 - right / width, "bottom": 0, "top": 1 - GAP / height}
    places = figure.subplots(
        len(rows),
        across,
        squeeze=False,
        gridspec_kw={**edges, "wspace": 0.05, "hspace": GAP / tall},
    )
    for line, pictures in zip(places, found):
        padded = [*pictures[:-1], *[None] * (across - len(pictures)), pictures[-1]]
        for axes, shown in zip(line, padded):
            axes.set_axis_off()
            if shown:
                axes.imshow(shown)
    return figure, [list(line) for line in places]
