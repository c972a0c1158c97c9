"""How fast this machine trains each method, and against what."""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

from cohobate.cost import cost
from cohobate.display import Lines
from cohobate.machine import environment, fast_precision
from cohobate.methods import find_method
from cohobate.peak import PeakMemory
from cohobate.stopwatch import (
    Case,
    Ours,
    Reference,
    build_method,
    machine,
    matrix_rate,
    rates,
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of a method: medians of interleaved repeats, in one process.

    vs_supervised: images a second, as a multiple of `supervised` on the same network.
    vs_eager_float32: as a multiple of the same method as torch comes: eager, contiguous, float32,
        every loss read after each step.
    peak_memory_bytes: most memory of a process that does nothing else, beyond what it began with;
        of the reference, `eager_peak_memory_bytes`.
    data_wait: share of the time that is spent on getting batches.
    mfu: floating-point operations of the method as a share of what the machine's matrix products
        reach in that precision.
    """

    method: str
    images_per_second: float
    vs_supervised: float
    vs_eager_float32: float
    peak_memory_bytes: int
    eager_peak_memory_bytes: int
    data_wait: float
    mfu: float


def bench(cases: list[Case], display: Lines) -> tuple[list[Row], list[str]]:
    """A row for each case, each measured in processes of its own; and what could not be measured.

    Raises ValueError for an unknown method or network, and where nothing could be measured.
    """
    for case in cases:
        find_method(case.method)
    build_method(replace(cases[0], method="supervised"))
    rows, failed = list[Row](), list[str]()
    for case in display.track(f"measuring {len(cases)} methods", cases):
        try:
            memory = _alone(_memory_of_reference, case)
            rows.append(replace(_alone(_measure, case), eager_peak_memory_bytes=memory))
        except (ValueError, RuntimeError) as error:  # the rows that are there are not lost
            failed.append(f"{case.method}: {str(error).splitlines()[0]}")
    if not rows:
        raise ValueError("; ".join(failed))
    return rows, failed


HEADINGS = (
    "method",
    "images/s",
    "× supervised",
    "× eager float32",
    "peak memory",
    "× supervised",
    "× eager float32",
    "data wait",
    "of matrix rate",
)


def lines(rows: list[Row]) -> list[tuple[str, ...]]:
    """The rows as people read them, under `HEADINGS`."""
    plain = rows[0].peak_memory_bytes
    return [
        (
            row.method,
            f"{row.images_per_second:.1f}",
            f"{row.vs_supervised:.2f}",
            f"{row.vs_eager_float32:.2f}",
            f"{row.peak_memory_bytes / 2**20:.0f} MiB",
            f"{row.peak_memory_bytes / plain:.2f}",
            f"{row.peak_memory_bytes / row.eager_peak_memory_bytes:.2f}",
            f"{100 * row.data_wait:.1f} %",
            f"{100 * row.mfu:.1f} %",
        )
        for row in rows
    ]


def setting(case: Case) -> str:
    """What all cases have in common, and where they are measured, in one line."""
    here = environment(machine())
    return (
        f"{case.model}, batches of {case.batch_size} at {case.size} pixels, {case.classes} classes;"
        f" {here['precision']}, {'compiled' if case.compile else 'not compiled'};"
        f" {here['processor']}, {here['threads']} threads; torch {here['torch']}; {here['date'][:10]}"
    )


def _measure(case: Case) -> Row:
    fabric = machine().launch()
    memory = PeakMemory(fabric.device)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(case, fabric, folder)
        for _ in range(3):
            ours.step()
        held = memory.used()
        alone = case.method == "supervised"
        plain = ours if alone else Ours(replace(case, method="supervised"), fabric, folder)
        sides = (ours, plain, Reference(case, fabric))
        mine, supervised, eager = rates([side.step for side in sides], case.batch_size)
    flops = 2 * cost(build_method(case), case.size)["step_macs"]
    return Row(
        method=case.method,
        images_per_second=mine,
        vs_supervised=1.0 if alone else mine / supervised,
        vs_eager_float32=mine / eager,
        peak_memory_bytes=held,
        eager_peak_memory_bytes=0,
        data_wait=ours.data_wait,
        mfu=flops * mine / matrix_rate(fabric.device, fast_precision()),
    )


def _memory_of_reference(case: Case) -> int:
    fabric = machine().launch()
    memory = PeakMemory(fabric.device)
    reference = Reference(case, fabric)
    for _ in range(3):
        reference.step()
    return memory.used()


def _alone(job: Any, case: Case) -> Any:
    """What a job returns, from a process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(job, case).result()
        except BrokenProcessPool:
            raise ValueError(
                f"its process was ended, most likely for want of memory: lower --batch-size"
                f" (now {case.batch_size})"
            ) from None
