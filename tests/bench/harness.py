"""How rows are measured: ours and a reference alternate in one process, and their ratio is the median of quotients.

Seconds are those that the processor spent on this process, on one torch thread: a busy machine changes them little.
Memory is by how much one more run raises the resident memory at its peak; of a reference that runs on a part, of that.
"""

import ctypes
import datetime
import gc
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from infocap._files import replace
from infocap.study.provenance import stamp

Row = dict[str, Any]
COPIED = 2**26  # bytes
WANTED = 0.4  # of the limit
SLACK = 0.3  # by how much a measured exponent may exceed that of the arithmetic


def seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


class Times(list[float]):
    """Milliseconds by repetition; ``rise`` is the memory in bytes, ``None`` where nobody counts."""

    rise: int | None = None


def alternate(*runs: Callable[[], float], repetitions: int) -> list[Times]:
    """Times each function, which returns its own seconds. The first round does not count; the last is for memory."""
    rounds = [[1e3 * run() for run in runs] for _ in range(repetitions + 1)][1:]
    measured = [Times(times) for times in zip(*rounds, strict=True)]
    for times, run in zip(measured, runs, strict=True):
        times.rise = rise(run)
    return measured


def rise(run: Callable[[], Any]) -> int | None:
    """Bytes above the level before, at the peak of a run."""
    if memory("VmRSS") is None:
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or the run fills what earlier ones have freed
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest level so far is now the present one
    run()
    return memory("VmHWM") - before


def row(
    operation: str,
    ours: list[float],
    reference: list[float],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    limit_s: float | None = None,
    note: str = "",
) -> Row:
    """The ratio is ours / reference; with ``at_least`` it is the gain, reference / ours. ``limit_s`` bounds ours."""
    pairs = zip(ours, reference, strict=True)
    ratio = statistics.median(b / a if at_least is not None else a / b for a, b in pairs)
    median = statistics.median(ours)
    good = (at_most is None or ratio <= at_most) and ratio >= (at_least or 0)
    good = good and (limit_s is None or median <= 1e3 * limit_s)
    bounds = [(limit_s, "{:g} s"), (at_most, "<= {:g}"), (at_least, ">= {:g}")]
    target = ", ".join(form.format(bound) for bound, form in bounds if bound)
    rises = {"ours": getattr(ours, "rise", None), "reference": getattr(reference, "rise", None)}
    held = {f"{side}_rise_mib": size / 2**20 for side, size in rises.items() if size is not None}
    return held | {
        "operation": operation,
        "ours_ms": median,
        "reference_ms": statistics.median(reference),
        "ratio": ratio,
        "gain": at_least is not None,
        "target": target,
        "verdict": ("ok" if good else "falls short") if target else "",
        "note": note,
    }


def memory_row(operation: str, peak: float, unit: float, at_most: float, note: str) -> Row:
    """Bytes, as a multiple of ``unit``; above the level before a call unless the operation says otherwise."""
    verdict = "ok" if peak <= at_most * unit else "falls short"
    return {
        "operation": operation,
        "ours_mib": peak / 2**20,
        "reference_mib": unit / 2**20,
        "ratio": peak / unit,
        "target": f"<= {at_most:g}",
        "verdict": verdict,
        "note": note,
    }


def growth_row(operation: str, variable: str, sizes: Sequence[int], times: list[Times], work: list[float]) -> Row:
    """The exponent of the time, from the medians, against that of the arithmetic; memory is that of the last size."""
    medians = [statistics.median(part) for part in times]
    exponent, predicted = slope(sizes, medians), slope(sizes, work)
    return {
        "operation": operation,
        "variable": variable,
        "sizes": list(sizes),
        "times_ms": medians,
        "exponent": exponent,
        "predicted": predicted,
        "peak_mib": None if times[-1].rise is None else times[-1].rise / 2**20,
        "target": f"<= {predicted + SLACK:.2g}",
        "verdict": "ok" if exponent <= predicted + SLACK else "falls short",
        "note": "" if exponent <= predicted + SLACK else "grows faster than its arithmetic",
    }


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Least squares of the logarithms: the exponent of a power law."""
    return statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in values]).slope


def text(row: Row) -> str:
    """One line of the table."""
    if "times_ms" in row:
        first, last = (duration(row["times_ms"][end]) for end in (0, -1))
        label = f"growth with {row['variable']}: {row['operation']}"
        return f"{label:72}{first:>10}{last:>11}{row['exponent']:9.2f}  {row['target']:<15}{row['verdict']}".rstrip()
    if "ratio" not in row:
        ours = duration(row["ours_ms"]) if "ours_ms" in row else "-"
        line = f"{row['operation']:72}{ours:>10}{'-':>11}{'-':>9}  {row['target']:<15}{row['verdict']:<13}"
        return f"{line}{row['note']}".rstrip()
    if "ours_ms" in row:
        ours, reference = duration(row["ours_ms"]), duration(row["reference_ms"])
    else:
        ours, reference = (f"{row[key]:.0f}MiB" for key in ("ours_mib", "reference_mib"))
    line = f"{row['operation']:72}{ours:>10}{reference:>11}{row['ratio']:9.4g}  {row['target']:<15}{row['verdict']:<11}"
    return f"{line}  {row['note']}".rstrip()


def write(path: Path, rows: list[Row], seconds: float, **facts: Any) -> None:
    """What the page Performance is made of: no name of a machine, no path."""
    provenance = stamp() | {"date": datetime.date.today().isoformat(), "seconds": seconds} | facts
    replace(path, (json.dumps({"rows": rows, "provenance": provenance}, indent=1, allow_nan=False) + "\n").encode())


HEADER = f"{'operation':72}{'ours':>10}{'reference':>11}{'ratio':>9}  {'target':<15}verdict"


def duration(milliseconds: float) -> str:
    return f"{milliseconds:.2f}ms" if milliseconds < 1e3 else f"{milliseconds / 1e3:.2f}s"


def agree(what: str, ours: Tensor, reference: Tensor, relative: float) -> None:
    """Ends the run unless both computed the same thing, within ``relative`` of its largest entry."""
    error = float((ours.double() - reference.double()).abs().max() / reference.double().abs().max())
    if not error <= relative:
        sys.exit(f"{what}: ours and the reference differ by {error:.1e} of the largest entry, more than {relative:g}")


def flops(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matmul(dtype: torch.dtype = torch.float32) -> float:
    """Seconds of one large product: its rate is the most that this core reaches."""
    left, right = torch.ones(2, 1024, 1024, dtype=dtype)
    return seconds(lambda: left @ right)


def copy() -> float:
    """Seconds of copying 64 MiB: the rate at which this core moves bytes, each of them read and written."""
    source, target = torch.ones(2, COPIED // 4)
    return seconds(lambda: target.copy_(source))


def against_limit(
    row: Row,
    flops: float,
    moved: float,
    ours: list[float],
    product: list[float],
    copied: list[float],
    run: Callable[[], Any],
) -> Row:
    """The row with the least time that its arithmetic and its bytes take at the rates of ``matmul`` and ``copy``.

    All three alternate. Where ours stays below ``WANTED`` of the larger, the limit, ``run`` is profiled.
    """
    arithmetic = [flops / (2 * 1024**3) * time for time in product]
    memory = [moved / (2 * COPIED) * time for time in copied]
    by = max((arithmetic, memory), key=statistics.median)
    fraction = statistics.median(limit / time for limit, time in zip(by, ours, strict=True))
    return row | {
        "flops": flops,
        "bytes": moved,
        "limit_ms": statistics.median(by),
        "limit_by": "arithmetic" if by is arithmetic else "memory",
        "fraction": fraction,
        "profile": shares(run) if fraction < WANTED else "",
    }


def shares(run: Callable[[], Any], most: int = 4) -> str:
    """Which operations of torch take the most of its time, their own parts, by torch.profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    events = sorted(profile.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    parts = (f"{e.key.removeprefix('aten::')} {100 * e.self_cpu_time_total / total:.0f} %" for e in events[:most])
    return ", ".join(parts)


def of_matmul(work: float, ours: list[float], product: list[float]) -> str:
    """The arithmetic of a step, and the share of the product's rate that it reaches."""
    rate = statistics.median(2 * 1024**3 / time for time in product)  # per ms
    share = statistics.median(work / a / (2 * 1024**3 / b) for a, b in zip(ours, product, strict=True))
    size = f"{work / 1e6:.0f} MFLOP" if work < 1e9 else f"{work / 1e9:.1f} GFLOP"
    return f"{size} a step, {100 * share:.0f} % of this core's {rate / 1e6:.0f} GFLOP/s (1024^3 matmul)"


def in_subprocess(module: str, call: str) -> Any:
    """What a function of a module beside this file returns when a fresh interpreter calls it."""
    code = f"import json, {module}; print(json.dumps({module}.{call}()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory(key: str) -> int | None:
    """Bytes that Linux counts for this process: ``VmRSS`` now, ``VmHWM`` at most so far; ``None`` elsewhere.

    Not ``ru_maxrss``: a child inherits that of its parent.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])
