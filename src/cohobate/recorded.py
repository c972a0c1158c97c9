"""Which images a run began with: written into its folder, and held against those of a later look."""

import json
from typing import Any

from cohobate.data.classification import ImageSet
from cohobate.data.splits import Split
from cohobate.rundir import RunDir

SPLITS = ("train", "val", "test")


def record_data(run: RunDir, data: ImageSet) -> dict[str, str]:
    """Writes which images are in which split, so that a later look sees what has changed.

    Returns the fingerprint of each split.
    """
    splits = {name: getattr(data, name) for name in SPLITS}
    facts = {
        name: {"images": len(split), "fingerprint": split.fingerprint(), "files": split.names()}
        for name, split in splits.items()
        if split is not None
    }
    run.write(run.splits, json.dumps(facts, indent=1) + "\n")
    return {name: str(each["fingerprint"]) for name, each in facts.items()}


def check_data(run: RunDir, data: ImageSet) -> None:
    """Raises ValueError where a split holds other images than when the run began."""
    for name, facts in _recorded(run).items():
        split = getattr(data, name)
        if split is None or split.fingerprint() != facts["fingerprint"]:
            if split and split.names() and split.names() == facts.get("files"):
                raise ValueError(
                    f"the {name} images have the names of those that {run.path} began with, but other"
                    " sizes, labels or outlines (or cohobate was older then, and did not look at"
                    " sizes): put the data back, or train anew in another folder with --out DIR"
                )
            now = 0 if split is None else len(split)
            raise ValueError(
                f"the {name} images are not those that {run.path} began with ({facts.get('images')}"
                f" then, {now} now; {run.splits} lists them): put the data back, or train anew in"
                " another folder with --out DIR"
            )


def doubts(run: RunDir, name: str, split: Split) -> list[str]:
    """What speaks against the scores of a run on a split of other data: that it may have seen its images.

    Nothing where it is the split that the run began with; files are known by their names, `CLASS/FILE`.
    Raises ValueError where the record is damaged.
    """
    recorded = _recorded(run)
    if not recorded or split.fingerprint() == recorded.get(name, {}).get("fingerprint"):
        return []
    names, learnt = split.names(), {*recorded.get("train", {}).get("files", [])}
    if met := sum(each in learnt for each in names):
        return [
            f"warning: {met} of these {len(split)} {name} images have the names of images that"
            f" {run.path} was trained on ({run.splits} lists them): where they are the same images,"
            " the scores are too high"
        ]
    if names and learnt:
        return []
    return [
        f"warning: these are not the {name} images that {run.path} began with: where it was trained on"
        " some of them, the scores are too high"
    ]


def _recorded(run: RunDir) -> dict[str, dict[str, Any]]:
    """What `splits.json` says of each split; nothing where there is none. Raises ValueError."""
    found = run.read(run.splits)
    for name, facts in found.items():
        if name not in SPLITS or not isinstance(facts, dict) or "fingerprint" not in facts:
            raise ValueError(f"{run.splits} is damaged: {name!r} tells of no images")
    return found
