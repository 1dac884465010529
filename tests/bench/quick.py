"""How long does the book take to compute? From the records of its cells, if the store of this user holds them all.

A cell's record says how many seconds it took, on one thread, whenever that was. Two cores share the cells of a part.
What only a fresh machine can tell is listed with its target and not measured.
"""

from collections.abc import Iterator

from harness import Row

from infocap.experiments import catalogue
from infocap.study.store import Store
from infocap.study.sweep import collect

PARTS = {"noisy_labels": 5, "sample_information": 4, "generalization": 7, "distillation": 6}  # minutes on two cores
ELSEWHERE = {  # target, and what tells
    "set-up": ("4 min", "make setup on a fresh clone"),
    "the whole book in quick, two cores": ("22 min", "make book on a fresh clone"),
    "the book again, nothing changed": ("40 s", "make book, twice"),
    "the book after one changed sentence": ("60 s", "make book, after a change"),
    "the whole test suite, two cores": ("15 min", "make test"),
}


def rows() -> Iterator[Row]:
    profile, store = catalogue.load_profile("quick"), Store(None)
    for part, minutes in PARTS.items():
        tables = [name for name in catalogue.TABLES if name.split("/")[0] == part]
        tasks = {name: catalogue.work(name, profile) for name in tables}
        operation, target = f"cells of part {part.replace('_', ' ')} in quick, two cores", f"{minutes} min"
        if not all(task.key in store for part in tasks.values() for task in part):
            note = "the store lacks some of them; make book computes them"
            yield {"operation": operation, "target": target, "verdict": "not measured", "note": note}
            continue
        seconds = sum(
            collect(name, "quick", part, store, profile.device).provenance["seconds"] for name, part in tasks.items()
        )
        verdict = "ok" if seconds / 2 <= 60 * minutes else "falls short"
        note = f"{seconds:.0f} core seconds, as the cells' records say; chapters take seconds more"
        yield {"operation": operation, "ours_ms": 1e3 * seconds / 2, "target": target, "verdict": verdict, "note": note}
    for operation, (target, how) in ELSEWHERE.items():
        yield {"operation": operation, "target": target, "verdict": "not measured", "note": f"to be seen by {how}"}
