"""What a cell costs beyond its own computation: 10,000 that compute nothing, written, found again and read.

The reference is the disk's part. For a cell written: one file of the same bytes, flushed and renamed, without which a
killed run could lose it. For cells read: the bytes of their files, from the system's cache, as ours. Seconds are those
on the clock, for who waits for the disk or for workers uses no processor: a busy machine makes them longer.
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from harness import Row, row

from infocap._files import replace
from infocap.study.store import Store
from infocap.study.sweep import Task, cluster, collect, sweep, tasks

CELLS, WORKERS = 10_000, 2


@dataclass(frozen=True)
class Cell:
    x: int


def cells(count: int) -> list[Cell]:
    return [Cell(x) for x in range(count)]


def measure(cell: Cell) -> dict[str, float]:
    return {"y": 2.0 * cell.x}


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix="infocap-bench-", dir=Path.cwd()) as name:  # /tmp may be memory only
        folder = Path(name)
        yield overhead("jobs=1", folder / "one", contextlib.nullcontext(), jobs=1)
        yield overhead("2 processes (loky)", folder / "pool", contextlib.nullcontext(), jobs=WORKERS)
        shutil.rmtree(folder / "pool")
        with LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50) as local:
            local.wait_for_workers(WORKERS)
            yield overhead("dask, 2 workers", folder / "dask", cluster(local.scheduler_address), tasks_alone(local))
        yield from finished(Store(folder / "one"), folder / "dask")


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def work() -> list[Task]:
    return tasks("bench/study", sys.modules[__name__], CELLS)


def compute(chosen: Sequence[Task], root: Path, jobs: int | None) -> None:
    sweep(chosen, {"bench/study": measure}, Store(root), jobs=jobs, progress=False)


def tasks_alone(local: LocalCluster, count: int = 1_000) -> str:
    """How many calls that do nothing dask hands out and brings back, each a task of its own."""
    with Client(local) as client:
        client.gather(client.map(abs, range(10), pure=False))
        spent = seconds(lambda: client.gather(client.map(abs, range(count), pure=False)))
    return f"dask alone: {count / spent:.0f} tasks a second; "


def overhead(
    how: str, root: Path, where: contextlib.AbstractContextManager, note: str = "", *, jobs: int | None = None
) -> Row:
    """Milliseconds per cell, once the workers have started and computed some cells each."""
    chosen = work()
    with where:
        compute(chosen[: 20 * WORKERS], root.with_name("start"), jobs)
        ours = 1e3 * seconds(lambda: compute(chosen, root, jobs)) / CELLS
    shutil.rmtree(root.with_name("start"))
    if collect("bench/study", "", chosen, Store(root)).frame["y"].tolist() != [2.0 * task.cell.x for task in chosen]:
        sys.exit(f"{how}: the table has other results")
    content, plain = next(root.glob("??/*")).read_bytes(), root.with_name("plain")
    sample = CELLS // 10
    file = 1e3 * seconds(lambda: [replace(plain / str(n), content) for n in range(sample)]) / sample
    shutil.rmtree(plain)
    note += f"one of {CELLS:,} cells, on the clock; reference: one of {sample:,} files of {len(content)} bytes"
    return row(f"sweep, a tiny cell, {how} / its file, flushed", [ours], [file], limit_s=0.01, note=note)


def finished(store: Store, other: Path) -> Iterator[Row]:
    """The same cells, when the store holds them all; ``other`` is a folder of as many, written as carefully."""
    chosen, paths = work(), [store.path(key) for key in store]
    states = [path.stat() for path in paths]
    size = sum(state.st_size for state in states) / CELLS
    blocks = sum(512 * state.st_blocks for state in states) / CELLS

    def read() -> list[bytes]:
        return [path.read_bytes() for path in paths]

    def timed(what: str, run: Callable[[], Any], reference: Callable[[], Any], note: str = "on the clock") -> Row:
        return row(f"store, {CELLS:,} records: {what}", [1e3 * seconds(run)], [1e3 * seconds(reference)], note=note)

    keys = f"the keys alone: {1e3 * seconds(work):.0f} ms"
    disk = f"on the clock; {keys}; a record has {size:.0f} bytes and takes {blocks:.0f} on disk"
    yield timed("a sweep that finds all / reading files", lambda: compute(work(), store.root, 1), read, disk)
    yield timed("table / reading files", lambda: collect("bench/study", "", chosen, store), read)
    yield timed("verify / reading files", store.verify, read)
    yield timed("list of keys / names of files", lambda: list(store), lambda: names(store.root))
    yield timed("prune all / rm -r", lambda: store.prune(set()), lambda: shutil.rmtree(other))


def names(root: Path) -> list[str]:
    return [entry.name for folder in os.scandir(root) for entry in os.scandir(folder)]
