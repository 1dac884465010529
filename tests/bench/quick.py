"""How long does the book take, and in how much memory? From the records of its cells, if the store has them.

A cell's record says how many seconds it took, on one thread, whenever that was, and the peak of its process' resident
memory meanwhile: torch and the data included. Two cores share the cells of a part. What a fresh clone takes with an
empty store is read from what ``.ci/run`` and its build have left in book/_build; building again is done here, in a
copy of the checkout.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import joblib
from harness import Row, memory_row

from infocap.experiments.catalogue import CATALOGUE
from infocap.study.provenance import stamp
from infocap.study.store import Store

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "book" / "_build"


def rows() -> Iterator[Row]:
    profile, store = CATALOGUE.load_profile("quick"), Store(None)
    for part, budget in budgets().items():
        names = [name for name in CATALOGUE.tables if name.split("/")[0] == part]
        tables = {name: CATALOGUE.collect(name, profile, store).provenance for name in names}
        title, spent = part.replace("_", " "), sum(table["seconds"] for table in tables.values())
        whole = all(table["finished"] == table["cells"] for table in tables.values())
        note = f"{spent:.0f} core seconds, as the cells' records say; chapters take seconds more"
        note = note if whole else "the store lacks some of them; make book computes them"
        yield timed(f"cells of part {title} in quick, two cores", spent / 2 if whole else None, budget / 2, note)
        peaks = {name.split("/")[1]: table["peak_mib"] for name, table in tables.items() if table["peak_mib"]}
        if peaks and whole:  # only Linux counts it
            note = "the whole process; " + ", ".join(f"{name} {peak} MiB" for name, peak in peaks.items())
            peak = 2**20 * max(peaks.values())
            yield memory_row(f"memory: largest cell of part {title} in quick / 3 GiB", peak, 3 * 2**30, 1, note)
    yield from book(sum(len(CATALOGUE.work(name, profile)) for name in CATALOGUE.tables))


def budgets() -> dict[str, int]:
    """Core seconds of each part, from the comments of the profile, which has the parts in the same order."""
    parts = dict.fromkeys(name.split("/")[0] for name in CATALOGUE.tables)
    text = (CATALOGUE.profiles / "quick.toml").read_text(encoding="utf-8")
    return dict(zip(parts, map(int, re.findall(r"^# .+: (\d+) s$", text, re.MULTILINE)), strict=True))


def book(cells: int) -> Iterator[Row]:
    """From a fresh clone to a changed sentence, if ``.ci/run`` was the last to build here, with an empty store."""
    stages, built = BUILD / "stages.txt", BUILD / "html" / "manifest.json"
    manifest = json.loads(built.read_text()) if stages.exists() and built.exists() else {"cells": {"computed": 0}}
    wanted = {"profile": "quick", "settings": [], "commit": stamp()["commit"]}
    times = dict.fromkeys(("setup", "tests", "book", "pages", "again", "changed"))
    if manifest["cells"]["computed"] == cells and wanted.items() <= manifest.items():
        times |= {name: int(spent) for name, spent in re.findall(r"(\w+): (\d+) s", stages.read_text())}
        times |= dict(zip(("again", "changed"), builds(), strict=True))
    note = f"on the clock, {joblib.cpu_count()} cores" if times["book"] else "run .ci/run on a fresh clone before"
    yield timed("set-up", times["setup"], 60, note)
    yield timed("the whole book in quick", times["book"], 600, note)
    yield timed("the book again, nothing changed", times["again"], 5, note)
    yield timed("the book after one changed sentence", times["changed"], 15, note)
    yield timed("the whole test suite", times["tests"], 300, note)
    yield timed("the checks of the pages", times["pages"], 90, note)


def timed(operation: str, spent: float | None, limit_s: float, note: str) -> Row:
    """Seconds on the clock, which take at most as many as the limit."""
    row = {"operation": operation, "target": f"{limit_s:g} s", "note": note}
    if not spent:  # a set-up that was there before takes no second
        return row | {"verdict": "not measured"}
    return row | {"ours_ms": 1e3 * spent, "verdict": "ok" if spent <= limit_s else "falls short"}


def builds() -> tuple[float, float]:
    """Seconds of a build that finds all done, and of one after a sentence was added to a chapter."""
    with tempfile.TemporaryDirectory(prefix="infocap-bench-") as name:
        copy = Path(name) / "project" / "book"
        shutil.copytree(ROOT, copy.parent, ignore=shutil.ignore_patterns(".venv*", ".git", "dist"))
        run(copy)  # brings up to date what depends on the folder
        again = run(copy)
        chapter = copy / "noisy_labels" / "limit.ipynb"
        content = json.loads(chapter.read_text(encoding="utf-8"))
        content["cells"][0]["source"] += ["\n\nOne more sentence."]
        chapter.write_text(json.dumps(content), encoding="utf-8")
        return again, run(copy)


def run(book: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "infocap", "run", "--book", str(book)]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start
