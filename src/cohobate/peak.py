"""The most memory that a process held while it did something."""

import ctypes
import gc
import mmap
import sys
from pathlib import Path

import psutil
import torch


class PeakMemory:
    """What this process holds beyond what it held when this was made, at the most, in bytes.

    On a GPU what PyTorch has allocated there; else what of the process lies in memory, as the system
    counts it, so that nothing below a page is seen, and neither are other processes, such as
    those that read files. What was freed earlier is first given back to the system, where the C
    library can be told so (glibc), so that it is not used again unseen.
    """

    def __init__(self, device: torch.device):
        self.device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            linux = sys.platform == "linux"
            give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if linux else None
            if give_back:
                give_back(0)
            if _CLEAR.exists():
                _CLEAR.write_text("5")  # what is held now counts as the peak so far
        self._before = self._peak()

    def used(self) -> int:
        return max(self._peak() - self._before, mmap.PAGESIZE)

    def _peak(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if _STATUS.exists():
            lines = _STATUS.read_text().splitlines()
            held = next(line for line in lines if line.startswith("VmHWM"))
            return 1024 * int(held.split()[1])
        if sys.platform == "win32":
            return psutil.Process().memory_info().peak_wset
        import resource  # which Windows has not

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
