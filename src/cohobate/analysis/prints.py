"""The pictures of an analysis as PNG files, in Matplotlib: for papers and slides, on white paper."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from cohobate.analysis import charts, plates
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.figures import DASHES, GREY
from cohobate.analysis.gallery import dots
from cohobate.analysis.paper import dots_per_inch, grid, legend, plain, titled
from cohobate.analysis.portrait import Analysis, Histogram

MARKERS = {"●": "o", "■": "s", "◆": "D", "▲": "^", "▼": "v", "✚": "P", "★": "*"}
"""What a page and Matplotlib call them."""
SOFTWARE = "cohobate analyse"
"""What a file of ours names as its maker."""


def write_figures(
    analysis: Analysis, folder: str | Path, comparison: Comparison | None = None
) -> list[Path]:
    """Writes a file a figure, in place of those of an earlier analysis, and returns their paths.

    comparison: of the runs that are done, for what is drawn of them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.png"):
        if _is_ours(file):
            file.unlink()
    drawn: dict[str, Figure] = {}
    wanted, portraits = analysis.only, analysis.portraits
    if portraits and "calibration" in wanted:
        drawn["reliability"] = reliability(analysis)
        drawn["entropy"] = spreads(analysis, "entropy", "entropy (nats)")
        drawn["confidence"] = spreads(analysis, "confidence", "highest probability")
    if portraits and "confusion" in wanted:
        drawn["confusion"] = plates.confusion(analysis)
        for number, each in enumerate(portraits):
            if each.confusion.pairs:
                drawn[f"confused-{number}"] = plates.confused(each, analysis.names)
    if portraits and "features" in wanted:
        drawn |= {"map": maps(analysis), "norms": norms(analysis)}
    if portraits and "robustness" in wanted:
        drawn["robustness"] = robustness(analysis)
    drawn |= plates.figures(analysis)
    if comparison and comparison.several and "comparison" in wanted:
        drawn |= charts.rows(comparison)
    if comparison and "curves" in wanted:
        drawn |= charts.epochs(comparison)
    for name, figure in drawn.items():
        maker = {"Software": SOFTWARE}
        figure.savefig(folder / f"{name}.png", dpi=dots_per_inch(figure), metadata=maker)
    return [folder / f"{name}.png" for name in drawn]


def _is_ours(file: Path) -> bool:
    try:
        with Image.open(file) as image:
            return image.info.get("Software") == SOFTWARE
    except OSError:  # it is no image, or cannot be read
        return False


def reliability(analysis: Analysis) -> Figure:
    """A panel a run: accuracy over confidence, hatched what lies between; below, where images are."""
    figure, panels = grid(len(analysis.portraits), size=(3.2, 3.9))
    styles = analysis.styles
    for axes, portrait in zip(panels, analysis.portraits):
        bars, below = portrait.reliability, axes.inset_axes((0, -0.3, 1, 0.2), sharex=axes)
        width, total = 1 / len(bars.count), sum(bars.count)
        for place, (n, mean, accuracy) in enumerate(
            zip(bars.count, bars.confidence, bars.accuracy)
        ):
            if mean is None or accuracy is None:
                continue
            centre, bar = width * (place + 0.5), 0.94 * width
            colour = styles[portrait.label].colour
            axes.bar(centre, accuracy, bar, color=colour, alpha=0.65)
            low, gap = min(mean, accuracy), abs(mean - accuracy)
            axes.bar(centre, gap, bar, low, fill=False, edgecolor=GREY, hatch="////")
            below.bar(centre, 100 * n / total, bar, color=GREY)
        axes.plot([0, 1], [0, 1], ":", color=GREY)
        axes.tick_params(labelbottom=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        below.set(xlabel="confidence", ylabel="images (%)")
        below.spines[["top", "right"]].set_visible(False)
        titled(axes, f"{portrait.label}, ECE {100 * portrait.ece:.2f} %")
    return figure


def spreads(analysis: Analysis, name: str, axis: str) -> Figure:
    """A panel a temperature, with what `name` of the portraits is spread over there."""
    figure, panels = grid(len(analysis.temperatures), columns=2, size=(4.2, 2.9))
    for place, (axes, temperature) in enumerate(zip(panels, analysis.temperatures)):
        found = [getattr(portrait, name)[place] for portrait in analysis.portraits]
        histograms(axes, analysis, found)
        axes.set(xlabel=axis, ylabel="% of images")
        titled(axes, f"T = {temperature:g}")
    legend(figure, panels[0])
    return figure


def norms(analysis: Analysis) -> Figure:
    """The length of the features as a density: each run has bins of its own width."""
    figure, (axes,) = grid(1, size=(6, 3.4))
    histograms(axes, analysis, [p.norms for p in analysis.portraits], density=True)
    axes.set(xlabel="length of the features", ylabel="density")
    legend(figure, axes)
    return figure


def histograms(
    axes: Axes,
    analysis: Analysis,
    spreads: Sequence[Histogram],
    *,
    density: bool = False,
) -> None:
    """Draws a histogram a run, as the outline of its bars."""
    for portrait, spread in zip(analysis.portraits, spreads):
        style, edges = analysis.styles[portrait.label], spread.edges
        scale = 1 / (edges[1] - edges[0]) if density else 100
        heights = [scale * share for share in spread.shares]
        axes.stairs(heights, edges, fill=True, color=style.colour, alpha=0.12)
        axes.stairs(
            heights,
            edges,
            color=style.colour,
            linestyle=style.stroke,
            linewidth=1.5,
            label=plain(portrait.label),
        )
    axes.set_ylim(bottom=0)


def maps(analysis: Analysis) -> Figure:
    """A panel a run: where t-SNE puts the images, a look a class."""
    figure, panels = grid(len(analysis.portraits), size=(3.4, 3.4))
    for axes, portrait in zip(panels, analysis.portraits):
        for place, (name, dot) in enumerate(dots(analysis.classes).items()):
            own = [(x, y) for x, y, at in portrait.points if at == place]
            axes.plot(
                *([x for x, _ in own], [y for _, y in own]),
                linestyle="",
                marker=MARKERS[dot.symbol],
                markersize=3,
                markeredgewidth=0,
                color=dot.colour,
                alpha=0.8,
                label=plain(name),
            )
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        titled(axes, portrait.label)
    legend(figure, panels[0], markerscale=2)
    return figure


def robustness(analysis: Analysis) -> Figure:
    """Accuracy over the strength of the attack: FGSM solid, PGD dashed."""
    figure, (axes,) = grid(1, size=(6, 3.8))
    styles = analysis.styles
    markers = dict(zip(DASHES, MARKERS.values()))
    for portrait in analysis.portraits:
        style, found = styles[portrait.label], portrait.robustness
        if found is None:
            continue
        x = [255 * epsilon for epsilon in found.epsilons]
        look = {"color": style.colour, "marker": markers[style.stroke], "markersize": 5}
        axes.plot(x, [100 * share for share in found.fgsm], label=plain(portrait.label), **look)
        axes.plot(x, [100 * share for share in found.pgd], "--", **look)
    for attack, line in (("FGSM", "-"), ("PGD", "--")):
        axes.plot([], [], line, color=GREY, label=attack)
    axes.set(xlabel="ε in 255ths", ylabel="accuracy (%)")
    axes.set_ylim(bottom=0)
    legend(figure, axes)
    return figure
