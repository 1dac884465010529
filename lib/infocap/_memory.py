"""Does what a function must hold fit into memory? If not, an error says its size before anything is allocated."""

import contextlib
import ctypes
import math
from pathlib import Path

import torch


def available(device: torch.device) -> float:
    """Bytes that a new tensor may take; infinite where nobody says. A container's own limit is not seen."""
    if device.type == "cuda":  # torch keeps what it has freed
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    meminfo = Path("/proc/meminfo")  # Linux
    if device.type != "cpu" or not meminfo.exists():
        return math.inf
    sizes = dict(line.split(":") for line in meminfo.read_text().splitlines())
    return 1024 * int(sizes["MemAvailable"].split()[0])


def require(argument: str, what: str, size: int, device: torch.device, helps: str) -> None:
    """Refuses ``size`` bytes that are not available; ``helps`` says what takes less.

    Raises:
        MemoryError: One line: the argument, what it makes, its size, what is available, and what helps.
    """
    if size > (free := available(device)):
        raise MemoryError(
            f"{argument}: {what} would take {size / 2**30:.3g} GiB, and {free / 2**30:.3g} GiB are available on "
            f"{device}; {helps} would take less"
        )


def trim() -> None:
    """Gives freed memory back to the system, where the C library can (glibc): kept, it would look like a leak."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # a library without the function, or none to name
        ctypes.CDLL(None).malloc_trim(0)
