"""What trained networks have learnt beside their accuracy: run, measured, attacked, drawn."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from cohobate import viewed
from cohobate.analysis import attention, embedding, matrices, mixtures, robustness, softness
from cohobate.analysis.comparison import Comparison
from cohobate.analysis.confusion import Confusion
from cohobate.analysis.heads import LAST, STUDENT, accuracies, has_more, teacher_of, traced
from cohobate.analysis.pictures import picture, sheet, without
from cohobate.analysis.portrait import Analysis, Portrait, portrait
from cohobate.analysis.prints import write_figures
from cohobate.analysis.report import write_analysis
from cohobate.analysis.similarity import Similarity, Traced, similarities
from cohobate.analysis.views import VIEWS
from cohobate.data.loader import EvalLoader, looked_at
from cohobate.data.splits import Split
from cohobate.display import Lines
from cohobate.fast import prepare
from cohobate.rundir import check_folder
from cohobate.scene import SECTIONS, SEED, VIEWED, Scene, Wanted, arranged, shuffled
from cohobate.sitters import Sitter, compared, open_runs, run_styles
from cohobate.tasks import TASKS
from cohobate.trained import Trained

SIMILAR = 128
"""Images of a batch, drawn at random, of which the unbiased similarity is estimated: more cost more,
fewer say less."""
THUMBNAIL = 64


def analyse(
    folders: Sequence[Path],
    out: str | Path,
    wanted: Wanted,
    *,
    overrides: Sequence[str] = (),
    display: Lines,
    command: str = "",
) -> tuple[Analysis, Path]:
    """Analyses trained runs, and writes `report.html`, `numbers.json` and `figures/` to `out`.

    overrides: settings such as `data.root=…`, of all runs. Of a run without weights there are
    scores, learning curves and settings alone.
    Returns the analysis and the path of the page. Raises ValueError where a folder holds no run,
    the runs do not share their task and images, or what is wanted is not there.
    """
    check_folder(out := Path(out))
    sitters, left_out = open_runs(folders, wanted.split, overrides)
    task = sitters[0].run.task_name
    sections = _sections(task)
    only = [name for name in sections if wanted.wants(name)]
    if not only:
        raise ValueError(
            f"--only {','.join(wanted.only)}: of task={task} there are {', '.join(sections)}"
        )
    comparison, twins = compared(sitters)
    trained = [sitter for sitter in sitters if sitter.trained and sitter.method]
    found = Analysis(
        data=(trained or sitters)[0].run.settings["data.name"],
        split=wanted.split,
        only=only,
        styles=run_styles(sitters, comparison),
        temperatures=list(wanted.temperatures),
        pgd_steps=robustness.STEPS,
        warnings=[
            *(_doubts(trained, wanted.split) if overrides else []),
            *(comparison.warnings if comparison and len(sitters) > 1 else []),
        ],
        left_out=left_out + twins * (wanted.wants("curves") or wanted.wants("comparison")),
    )
    if trained and task in VIEWS:
        view = VIEWS[task](_trained(trained[0]).data.classes)
        found = viewed.look(found, trained, wanted, view, display)
    elif trained:
        found = _look(found, trained, wanted, display)
    found = replace(found, left_out=[*found.left_out, *_missing(found, comparison)])
    out.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(without(asdict(found)), indent=1, allow_nan=False)
    (out / "numbers.json").write_text(numbers + "\n", encoding="utf-8")
    write_figures(found, out / "figures", comparison)
    runs = [(sitter.label, sitter.run) for sitter in sitters]
    page = write_analysis(
        found,
        out / "report.html",
        title="Analysis",
        command=command,
        comparison=comparison,
        runs=runs,
    )
    return found, page


def _doubts(sitters: Sequence[Sitter], split: str) -> list[str]:
    """What speaks against what networks say of data that overrides name, each sentence once."""
    told = [note for sitter in sitters for note in _trained(sitter).notes(split)]
    return [note.removeprefix("warning: ") for note in dict.fromkeys(told)]


def _sections(task: str) -> dict[str, str]:
    """What a page on runs of a task can hold. Raises ValueError for a task that is not looked into."""
    if TASKS[task].answers:
        return SECTIONS
    if task not in VIEWS:
        raise ValueError(f"runs of task={task} are not analysed: choose from {', '.join(VIEWS)}")
    return VIEWED


def _missing(found: Analysis, comparison: Comparison | None) -> list[str]:
    """A sentence for each section that was wanted and has nothing, or not all, to show."""
    done = {
        "comparison": comparison is not None and comparison.several,
        "curves": comparison is not None,
    }
    there = done | {
        "confusion": len(found.names) <= matrices.MOST,
        "heads": bool(found.headed),
        "mixtures": any(each.mixtures for each in found.portraits),
        "attention": any(each.looked for each in found.portraits),
        "similarity": bool(found.similarities),
        "temperature": any(each.softness for each in found.portraits),
    }
    if not found.portraits:
        there = done
    reasons = SECTIONS | VIEWED
    return [f"{name}: {reasons[name]}" for name in found.only if not there.get(name, True)]


def _look(found: Analysis, sitters: Sequence[Sitter], wanted: Wanted, display: Lines) -> Analysis:
    """The analysis with what networks tell."""
    first = _trained(sitters[0])
    scene = arranged(first, wanted)
    names = list(first.data.classes)
    pictured = wanted.wants("features")
    return replace(
        found,
        images=len(scene.split),
        drawn=len(scene.drawn),
        mapped=len(scene.mapped),
        names=names,
        classes=[names[number] for number in scene.classes],
        portraits=[_portray(sitter, scene, wanted, display) for sitter in sitters],
        similarities=_alike(sitters, scene, display) if wanted.wants("similarity") else [],
        sheet=sheet(_images(first, scene.split, scene.mapped)) if pictured else None,
    )


def _trained(sitter: Sitter) -> Trained:
    assert sitter.trained is not None, "only runs with weights are looked at"
    return sitter.trained


def _portray(sitter: Sitter, scene: Scene, wanted: Wanted, display: Lines) -> Portrait:
    """Runs a network over the split once; then whatever else of it is wanted."""
    trained, name, split = _trained(sitter), sitter.label, scene.split
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = trained.network.to(device)
    prepare(network)
    batches = _batches(trained, split, trained.config.eval.batch_size)
    batches = display.track(f"{name}: {len(split)} images", batches)
    seen = embedding.outputs(network, batches, trained.autocast())
    found = portrait(name, str(trained.run.path), seen, wanted.temperatures)
    found = replace(found, confusion=_pictured(found.confusion, trained, split))
    if wanted.wants("features"):
        display.say(f"{name}: map of {len(scene.mapped)} images")
        places = embedding.tsne(seen.features.cpu()[scene.mapped], seed=SEED).tolist()
        own = [scene.classes.index(target) for target in split.targets[scene.mapped].tolist()]
        points = [(round(x, 3), round(y, 3), at) for (x, y), at in zip(places, own)]
        found = replace(found, points=points)
    # A gradient takes about as much memory as a step of training.
    size, drawn = trained.config.data.batch_size, split.take(scene.drawn)
    if wanted.wants("robustness"):
        batches = display.track(
            f"{name}: attacks on {len(drawn)} images", _batches(trained, drawn, size)
        )
        found = replace(
            found, robustness=robustness.sweep(network, batches, wanted.epsilons, seed=SEED)
        )
    return _question(found, sitter, scene, wanted, display)


def _question(
    found: Portrait, sitter: Sitter, scene: Scene, wanted: Wanted, display: Lines
) -> Portrait:
    """The portrait with what all heads of the method say, and where they look."""
    trained, method, split = _trained(sitter), sitter.method, scene.split
    assert method is not None, "only runs with weights are looked at"
    network = trained.network
    device = next(network.parameters()).device
    prepare(method.to(device))
    drawn, size = split.take(scene.drawn), trained.config.eval.batch_size
    if wanted.wants("heads") and has_more(method):
        batches = display.track(
            f"{sitter.label}: heads on {len(drawn)} images", _batches(trained, drawn, size)
        )
        names = {STUDENT: LAST} if sitter.averaged else {}
        with trained.autocast():
            scores = accuracies(method, batches)
        found = replace(found, heads=[replace(s, name=names.get(s.name, s.name)) for s in scores])
    if wanted.wants("mixtures") and method.mix is not None and len(scene.pairs):
        rows = scene.pairs
        images = _images(trained, split, rows)
        targets = split.targets[rows].tolist()
        with trained.autocast():
            mixed = mixtures.mixtures(method, images, targets, rows.tolist(), SEED)
        found = replace(found, mixtures=mixed)
    if wanted.wants("attention"):
        images, targets = _images(trained, split, scene.looked), split.targets[scene.looked]
        found = replace(
            found,
            looked=attention.looked(method, images, targets.to(device), scene.looked.tolist()),
        )
    if wanted.wants("temperature") and (teacher := teacher_of(method)):
        batches = display.track(
            f"{sitter.label}: its teacher on {len(drawn)} images", _batches(trained, drawn, size)
        )
        with trained.autocast():
            found = replace(found, softness=softness.compared(network, teacher, batches))
    return found


def _alike(sitters: Sequence[Sitter], scene: Scene, display: Lines) -> list[Similarity]:
    """How alike the stages of the first run's network and every other's are, and of each run and its teachers."""
    networks: dict[str, Traced] = {}
    pairs: list[tuple[str, str]] = []
    students: list[str] = []
    for sitter in sitters:
        assert sitter.method is not None, "only runs with weights are looked at"
        for name, trace in traced(sitter.method).items():
            title = sitter.label if name == STUDENT else f"{name} of {sitter.label}"
            networks[title] = trace
            if name == STUDENT:
                students.append(title)
            elif sitter.label in networks:
                pairs.append((sitter.label, title))
    pairs += [(students[0], other) for other in students[1:]]
    if not pairs:
        return []
    trained, drawn = _trained(sitters[0]), scene.split.take(shuffled(scene.drawn))
    batches = display.track(
        f"similarity of {len(pairs)} pairs on {len(drawn)} images",
        _batches(trained, drawn, SIMILAR),
    )
    found = similarities(networks, pairs, batches)
    return [replace(each, other=each.other.removesuffix(f" of {each.one}")) for each in found]


def _pictured(confusion: Confusion, trained: Trained, split: Split) -> Confusion:
    """The confusion with the images of its pairs."""
    pairs = [
        replace(
            pair,
            pictures=[
                picture(image, THUMBNAIL)
                for image in _images(trained, split, torch.tensor(pair.rows))
            ],
        )
        for pair in confusion.pairs
    ]
    return replace(confusion, pairs=pairs)


def _images(trained: Trained, split: Split, rows: Tensor) -> Tensor:
    """Images (N, 3, H, W) of the split, in [0, 1]."""
    size = trained.config.eval.batch_size
    return torch.cat([batch.images for batch in _batches(trained, split.take(rows), size)])


def _batches(trained: Trained, split: Split, size: int) -> EvalLoader:
    return EvalLoader(
        split,
        size=trained.data.size,
        batch_size=size,
        device=next(trained.network.parameters()).device,
        workers=trained.config.data.workers,
        share=looked_at(trained.network.net.pretrained_cfg),
    )
