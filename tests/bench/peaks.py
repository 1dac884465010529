"""How much memory does a part of the book take with the profile ``quick``? Not more than 3 GiB.

Of each table the cell with the most numbers in its largest field runs in an interpreter of its own, which then tells
its peak: what lies in memory by then, torch and the data included. Trainings last one epoch: their peak comes with the
first pass and the first look. A sweep runs one such cell for each worker at a time.
"""

from collections.abc import Iterator
from dataclasses import asdict, replace
from math import prod

import torch
from harness import Row, in_subprocess, memory, memory_row

from infocap.experiments.catalogue import TABLES
from infocap.experiments.profiles import load_profile

PARTS = ("noisy_labels", "sample_information", "generalization", "distillation", "synthesis")
SIZES = ("n", "m", "test_size", "views", "draws", "width", "widths", "students", "teacher", "parameter")


def rows() -> Iterator[Row]:
    if memory("VmRSS") is None:
        return  # only Linux counts it
    for part in PARTS:
        tables = [name for name in TABLES if name.startswith(f"{part}/")]
        peaks = {name: in_subprocess("peaks", "peak", name) for name in tables}
        note = ", ".join(f"{name.split('/')[1]} {peak / 2**20:.0f} MiB" for name, peak in peaks.items())
        yield memory_row(
            f"memory: largest cell of each table of {part}, quick / 3 GiB", max(peaks.values()), 3 * 2**30, 1, note
        )


def peak(name: str) -> int:
    torch.set_num_threads(1)
    cell = max(TABLES[name].cells(load_profile("quick")), key=size)
    short = {field: 1 for field in ("epochs", "teacher_epochs") if getattr(cell, field, None)}
    TABLES[name].measure(replace(cell, **short))
    return memory("VmHWM")


def size(cell) -> int:
    """The product of its numbers of examples, networks and units."""
    entries = [asdict(cell).get(field) for field in SIZES]
    flat = [number for entry in entries for number in (entry if isinstance(entry, tuple | list) else [entry])]
    return prod(number for number in flat if isinstance(number, int) and number > 1)
