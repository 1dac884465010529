"""How long does the book take to compute, and in how much memory? From the records of its cells, if the store has them.

A cell's record says how many seconds it took, on one thread, whenever that was, and the peak of its process' resident
memory meanwhile: torch and the data included. Two cores share the cells of a part. What only a fresh machine can tell
is listed with its target and not measured.
"""

from collections.abc import Iterator

from harness import Row, memory_row

from infocap.experiments import catalogue
from infocap.study.store import Store
from infocap.study.sweep import collect

PARTS = {"noisy_labels": 5, "sample_information": 4, "generalization": 7, "distillation": 6, "synthesis": None}
ELSEWHERE = {  # target, and what tells
    "set-up": ("4 min", "make setup on a fresh clone"),
    "the whole book in quick, two cores": ("22 min", "make book on a fresh clone"),
    "the book again, nothing changed": ("40 s", "make book, twice"),
    "the book after one changed sentence": ("60 s", "make book, after a change"),
    "the whole test suite, two cores": ("15 min", "make test"),
}


def rows() -> Iterator[Row]:
    profile, store = catalogue.load_profile("quick"), Store(None)
    for part, minutes in PARTS.items():  # minutes on two cores
        names = [name for name in catalogue.TABLES if name.split("/")[0] == part]
        tasks = {name: catalogue.work(name, profile) for name in names}
        title, target = part.replace("_", " "), f"{minutes} min" if minutes else ""
        if not all(task.key in store for cells in tasks.values() for task in cells):
            note = "the store lacks some of them; make book computes them"
            row = {"operation": f"cells of part {title} in quick", "verdict": "not measured", "note": note}
            yield row | {"target": ", ".join(filter(None, [target, "3 GiB"]))}
            continue
        tables = {name: collect(name, "quick", tasks[name], store, profile.device).provenance for name in names}
        seconds = sum(table["seconds"] for table in tables.values())
        yield {
            "operation": f"cells of part {title} in quick, two cores",
            "ours_ms": 1e3 * seconds / 2,
            "target": target,
            "verdict": ("ok" if seconds / 2 <= 60 * minutes else "falls short") if minutes else "",
            "note": f"{seconds:.0f} core seconds, as the cells' records say; chapters take seconds more",
        }
        peaks = {name.split("/")[1]: table["peak_mib"] for name, table in tables.items() if table["peak_mib"]}
        if peaks:  # only Linux counts it
            note = "the whole process; " + ", ".join(f"{name} {peak} MiB" for name, peak in peaks.items())
            peak = 2**20 * max(peaks.values())
            yield memory_row(f"memory: largest cell of part {title} in quick / 3 GiB", peak, 3 * 2**30, 1, note)
    for operation, (target, how) in ELSEWHERE.items():
        yield {"operation": operation, "target": target, "verdict": "not measured", "note": f"to be seen by {how}"}
