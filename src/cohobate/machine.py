"""What the machine decides for a run, and what of it is written down."""

import ctypes
import logging
import os
import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import timm
import torch
from lightning_fabric import Fabric

from cohobate.config import RunConfig
from cohobate.core import cores
from cohobate.rundir import RunDir


@dataclass(frozen=True)
class Machine:
    """What the machine decides, once for a run: precision, compilation, threads, processes.

    compile: None where that is still to be tried.
    devices: processes on this machine, of each of the `nodes` machines.
    """

    precision: str
    compile: bool | None
    threads: int
    devices: int
    deterministic: bool
    nodes: int = 1

    @classmethod
    def of(cls, run: RunDir, config: RunConfig, devices: int) -> "Machine":
        """What the run's folder says, else what suits this machine."""
        stored = run.facts()
        torchrun = "LOCAL_WORLD_SIZE" in os.environ
        local = int(os.environ["LOCAL_WORLD_SIZE"]) if torchrun else devices
        nodes = int(os.environ["WORLD_SIZE"]) // local if torchrun else 1
        precision = config.precision if config.precision != "auto" else fast_precision()
        compiles = None if config.compile == "auto" else config.compile
        return cls(
            stored.get("precision", precision),
            stored.get("compile", compiles),
            stored.get("threads", _threads(local)),
            local,
            config.deterministic,
            nodes,
        )

    def launch(self) -> Fabric:
        """Fabric on this machine's processes, started where they are not yet."""
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        torch.set_num_threads(self.threads)
        keep_memory()
        if self.deterministic:  # cuBLAS reads this when it starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.benchmark = not self.deterministic
        if torch.cuda.is_available() and torch.cuda.device_count() < self.devices:
            raise ValueError(
                f"--devices {self.devices}: this machine has {torch.cuda.device_count()} GPUs"
            )
        fabric = Fabric(
            accelerator="cuda" if torch.cuda.is_available() else "cpu",
            devices=self.devices,
            num_nodes=self.nodes,
            strategy="ddp" if self.devices * self.nodes > 1 else "auto",
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
        )
        fabric.launch()
        return fabric


def _threads(processes: int) -> int:
    """Those of each process: its share of the cores, and no more than OMP_NUM_THREADS asks for.

    torchrun sets that to one where nobody has.
    """
    share = max(1, cores() // processes)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if "LOCAL_WORLD_SIZE" in os.environ or not asked.isdecimal() or not int(asked):
        return share
    return min(share, int(asked))


def keep_memory() -> None:
    """Has the C library keep what one step frees for the next, where it can be told so (glibc).

    Else it gives large blocks back to the system, which then hands them out anew page by page.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option:
        trim, from_system = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        set_option(trim, 2**31 - 1)
        set_option(from_system, 2**25)


def fast_precision() -> str:
    """bf16 where the processor computes in it, else float32."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "float32"


def command() -> str:
    """What this process was called with, as a shell takes it."""
    return shlex.join(["cohobate", *sys.argv[1:]])


def environment(machine: Machine) -> dict[str, Any]:
    """Where and with what a run is made."""
    return {
        "command": command(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cohobate": version("cohobate"),
        "code": code(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "timm": timm.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": machine.threads,
        "devices": machine.devices * machine.nodes,
        "precision": machine.precision,
        "compile": machine.compile,
    }


PACKAGE = Path(__file__).parent
BESIDE = ("analyse", "analysis", "bench", "budget", "card", "catalogue", "cli", "demo", "downstream", "earlier", "elsewhere", "ending", "evaluation", "explain", "export", "followed", "jobs", "lineage", "linear", "planning", "predict", "scene", "sitters", "stand", "stopwatch", "study", "transfer", "viewed")  # fmt: skip
"""Parts of the package, folders and modules, that no training runs through."""


@cache
def code() -> str:
    """A fingerprint of the package's source, of all that can change what a training ends in."""
    mark = blake2b(digest_size=6)
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE)
        if name.with_suffix("").parts[0] not in BESIDE:
            mark.update(f"{name.as_posix()}\n{file.read_text(encoding='utf-8')}\0".encode())
    return mark.hexdigest()


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return str(capabilities.get("cpu_name") or platform.processor() or platform.machine())


def free_memory(device: torch.device) -> int:
    """Bytes of memory that are free, of a GPU or of this machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
