"""Many runs that are planned: what is missing is trained, one after another or side by side."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cohobate import config as settings
from cohobate.analysis.runs import Run
from cohobate.config import RunConfig
from cohobate.display import Lines
from cohobate.earlier import (
    check_earlier,
    check_places,
    earlier,
    is_done,
    other_settings,
    train_earlier,
)
from cohobate.jobs import Job, side_by_side
from cohobate.planning import Planned
from cohobate.rundir import RunDir
from cohobate.scores import record_outcomes
from cohobate.tasks import TASKS
from cohobate.train import train


def check(planned: Sequence[Planned], folder: Path, beside: Sequence[Path] = ()) -> None:
    """Raises ValueError for what would else be told once other runs are trained.

    That is a teacher, or a start, that is not there, a folder that holds another run, and runs of
    several tasks, also among those `beside`, which are there to be compared with.
    """
    tasks = {run.config.task: str(run.name) for run in planned}
    for path in beside:
        try:
            tasks[Run.read(path).task_name] = str(path)
        except ValueError:
            if not RunDir(path).config.exists():
                raise  # what is damaged is named in the end, and left out
    if len(tasks) > 1:
        named = ", ".join(f"{place} is of task={task}" for task, place in tasks.items())
        raise ValueError(f"{named}: compare runs of one task")
    check_places((folder / run.name, run.config) for run in planned)
    coming, lacking = set[Path](), dict[str, list[str]]()
    for run in planned:
        try:
            done = is_done(folder / run.name, run.config)
        except ValueError:  # it is damaged, and `carry_out` tells of it
            done = True
        try:
            if not done:
                check_earlier(run.config, coming)
        except ValueError as error:
            lacking.setdefault(str(error), []).append(str(run.name))
        coming.add((folder / run.name).resolve())
    if lacking:
        said = [f"{', '.join(names)}: {reason}" for reason, names in lacking.items()]
        raise ValueError("; ".join(said))


def carry_out(
    planned: Sequence[Planned], folder: Path, display: Lines, at_once: int = 1
) -> tuple[list[Path], list[str]]:
    """Trains what is not trained yet, teachers first; returns the folders of all runs that are done.

    at_once: runs that are trained side by side.
    A run that fails is told of and left, and the others go on: the sentences that are returned say
    which, and why. Raises `Interrupted` and OSError, as `train` does.
    """
    jobs, failed = list[Job](), dict[str, str]()
    places = {
        run.name: f"run {n} of {len(planned)}: {run.name}" for n, run in enumerate(planned, 1)
    }
    for run in planned:
        try:
            if is_done(folder / run.name, run.config):
                display.say(f"{places[run.name]}: already there")
                continue
            if at_once > 1:
                train_earlier(run.config, display)
            jobs.append(Job(str(run.name), run.config, folder / run.name, earlier(run.config)))
        except (ValueError, FileNotFoundError, FloatingPointError) as error:
            failed[str(run.name)] = str(error)
    if at_once > 1:
        failed |= side_by_side(jobs, at_once, display)
        jobs = []
    for job in jobs:
        display.say(places[Path(job.name)])
        try:
            train_earlier(job.config, display)
            rows = train(job.config, job.folder, devices=1, display=display)
            task = TASKS[job.config.task]
            display.say(f"    test {task.title} {100 * rows[-1][f'test/{task.score}']:.2f} %")
        except (ValueError, FileNotFoundError, FloatingPointError) as error:
            failed[job.name] = str(error)
            display.say(f"    failed: {error}")
    reasons: dict[str, list[str]] = {}
    for name, reason in failed.items():
        reasons.setdefault(reason, []).append(name)
    told = [f"{', '.join(names)}: left out: {reason}" for reason, names in reasons.items()]
    return [folder / run.name for run in planned if str(run.name) not in failed], told


def there(planned: Sequence[Planned], folder: Path) -> tuple[list[Path], list[str], list[str]]:
    """The folders of the runs that are done, and sentences on those that are not, and on damaged ones."""
    done, told, damaged = list[Path](), list[str](), list[str]()
    missing: dict[str, dict[str, list[str]]] = {}
    for run in planned:
        try:
            if is_done(folder / run.name, run.config):
                done.append(folder / run.name)
                continue
            state = _state(folder / run.name, run.config)
        except ValueError as error:
            damaged.append(str(error))
            continue
        cells = missing.setdefault(state, {}).setdefault(str(run.name.parent), [])
        cells.append(str(run.config.seed))
    for state, names in missing.items():
        cells = sorted(f"{name} (seed {', '.join(seeds)})" for name, seeds in names.items())
        told.append(f"{state}: {', '.join(cells)}")
    return done, told, damaged


def _state(path: Path, config: RunConfig) -> str:
    """How far a run is that is not done. Raises ValueError where a file in its folder is damaged."""
    run = RunDir(path)
    if not (run.config.exists() and run.environment.exists()):
        return "not trained yet"
    if other := other_settings(settings.read(run.config), config):
        return f"there with other settings (folder → asked: {', '.join(other)})"
    return (
        f"trained for {len(Run.read(path).rows)} of {config.optim.epochs} epochs, and not finished"
    )


def moved(planned: Sequence[Planned], folder: Path) -> list[str]:
    """Sentences on runs that are done, but on data from another folder than the one that is asked for."""
    found: dict[str, list[str]] = {}
    for run in planned:
        if not (asked := run.config.data.root):
            continue
        try:
            there = Run.read(folder / run.name)
        except ValueError:  # it is not there, or is damaged, which is told elsewhere
            continue
        root = there.finished and there.root
        if root and Path(root).resolve() != Path(asked).resolve():
            found.setdefault(f"data.root={root}, not {asked}", []).append(str(run.name))
    return [
        f"already there from {roots}: {', '.join(names)}; where those are other images, name another"
        " folder with --runs DIR"
        for roots, names in found.items()
    ]


def score_again(folders: Iterable[Path], display: Lines) -> None:
    """Writes `outcomes.json` where a finished run has a network and, being older, no such file."""
    for path in folders:
        run = RunDir(path)
        if run.outcomes.exists() or not (run.done and run.metrics.is_file()):
            continue
        try:
            if TASKS[Run.read(path).task_name].outcomes is None:
                continue
        except ValueError:  # the comparison tells of it
            continue
        display.say(f"{path}: scored again, for its {run.outcomes.name}")
        try:
            record_outcomes(path)
        except (ValueError, OSError) as error:
            display.say(f"    left as it is: {error}")
