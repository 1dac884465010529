"""How do cells get computed, on a laptop, in a job array or on a cluster, unchanged?

``joblib.Parallel`` is the only seam. On a laptop it starts one process per core with one torch thread each; inside
``cluster(address)`` the same call runs on a Dask cluster; ``shard`` serves plain job arrays. The parent process writes
each result as it arrives, so that workers need no shared disk and a killed run loses only the cells in flight.
"""

import contextlib
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from infocap import _memory
from infocap.study import provenance
from infocap.study.cells import fields, key
from infocap.study.profiles import Profile
from infocap.study.store import Record, Store
from infocap.study.tables import Table

__all__ = ["Progress", "SweepError", "Task", "cluster", "collect", "sweep", "tasks"]

_A_LINE_EVERY = 60  # seconds
_EXPECTED = 1000  # workers of a cluster that may still be in a queue when a sweep begins


class SweepError(RuntimeError):
    """Some cells failed; every other cell was computed and stored."""


@dataclass(frozen=True)
class Task:
    """One cell of one table with its key; if its data is not at hand the key is empty and ``fault`` says why.

    ``stored`` is a result that is kept with the book, which counts where the store has none.
    """

    table: str
    cell: Any
    key: str
    fault: str = ""
    stored: Record | None = None

    def result(self, store: Store) -> Record | None:
        """What the store holds of the cell, or the book."""
        return (store.get(self.key) if self.key else None) or self.stored


@dataclass(frozen=True)
class Progress:
    """How many cells were found in the store, how many were computed, and why others could not be."""

    reused: int
    computed: int
    skipped: tuple[str, ...] = ()

    def __add__(self, other: "Progress") -> "Progress":
        skipped = self.skipped + other.skipped
        return Progress(self.reused + other.reused, self.computed + other.computed, skipped)

    def __str__(self) -> str:
        faults = [f", skipped {self.skipped.count(fault)} ({fault})" for fault in dict.fromkeys(self.skipped)]
        return f"reused {self.reused}, computed {self.computed}{''.join(faults)}"


def tasks(
    name: str,
    profile: Profile,
    data_checksum: Callable[[str], str] = lambda data: "",
    stored: Callable[[Any], Record | None] = lambda cell: None,
) -> list[Task]:
    """The cells of a table in a profile, without repetitions, with their keys.

    Args:
        name: Name of the table.
        profile: The profile.
        data_checksum: Identifies the data that a cell names in its field ``data``; a ``ValueError`` says that it is
            not at hand.
        stored: The result that is kept of a cell, if any.
    """
    work = []
    for cell in profile.cells(name):
        try:
            checksum = data_checksum(cell.data) if hasattr(cell, "data") else ""
        except ValueError as error:
            work.append(Task(name, cell, "", str(error), stored(cell)))
        else:
            work.append(Task(name, cell, key(cell, checksum), stored=stored(cell)))
    return work


def sweep(
    work: Sequence[Task],
    measures: dict[str, Callable[[Any], dict]],
    store: Store,
    *,
    jobs: int | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Progress:
    """Computes what the store lacks.

    Args:
        work: The cells. Those without data are skipped.
        measures: ``measure(cell) -> dict`` by name of the table. Arrays and tensors in the dictionary are stored as
            arrays, the rest as JSON.
        store: Receives each result as it arrives.
        jobs: Worker processes; ``None`` means one per physical core. Inside ``cluster`` the cluster decides.
        shard: ``(i, n)``: only every n-th cell, from the i-th on. The shards of a sweep may fill one store, or several
            that are copied into one.
        progress: Show a progress bar with the remaining time if this is a terminal, and else print a line a minute.

    Returns:
        How many cells were reused and computed.

    Raises:
        OSError: The store cannot be written to; what it held before, and all cells that arrived until then, it keeps.
        SweepError: After all other cells were stored, if some failed; names each with its fields and error.
    """
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard: got {index}/{count}; accepted: i/n with 0 <= i < n")
    work = list(work)[index::count]
    open_tasks = [task for task in work if task.result(store) is None]
    skipped = tuple(task.fault for task in open_tasks if task.fault)
    missing = [task for task in open_tasks if not task.fault]
    outcome = Progress(len(work) - len(skipped) - len(missing), len(missing), skipped)
    if not missing:
        return outcome
    jobs = min(len(missing), jobs or joblib.cpu_count(only_physical_cores=True))
    store.require_writable()
    failures = []
    with joblib.Parallel(n_jobs=jobs, return_as="generator_unordered") as parallel:
        done = parallel(joblib.delayed(measured)(measures[task.table], task) for task in missing)
        bar = tqdm(done, total=len(missing), disable=None if progress else True, unit="cell")
        for task, result in _said(bar, len(missing)) if progress and bar.disable else bar:
            try:
                if isinstance(result, Record):
                    store.put(task.key, result)
                    continue
            except OSError:  # the store takes no more: stop the workers, which joblib would complain about
                with warnings.catch_warnings(action="ignore"):
                    done.close()
                raise
            except TypeError as error:  # no store can hold it
                result = error
            failures.append(f"{task.table} {fields(task.cell)}\n{result}")
    if failures:
        shown, more = failures[:5], len(failures) - 5
        shown += [f"and {more} more"] if more > 0 else []
        raise SweepError(f"{len(failures)} of {len(work)} cells failed; the others are stored\n" + "\n".join(shown))
    return outcome


def _said(results: Iterable[Any], total: int) -> Iterator[Any]:
    """Where nobody sees a bar: a line a minute, as soon as the next cell is done."""
    began = said = time.monotonic()
    for number, result in enumerate(results, 1):
        yield result
        now = time.monotonic()
        if now - said >= _A_LINE_EVERY and number < total:
            said, spent = now, (now - began) / 60
            rest = spent / number * (total - number)
            print(f"cells: {number} of {total} after {spent:.0f} min, about {rest:.0f} min remain", flush=True)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Inside, sweeps run on a Dask cluster, whose workers may come late, come back and go.

    joblib counts the workers once, when a sweep begins: with none it gives up after ten seconds, with one it computes
    in this process, and those that come later find little to do. So it hears of 1,000 at least; the scheduler holds
    their cells until they come.

    Args:
        address: Of the scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises:
        OSError: No scheduler answers there.
    """
    from distributed import Client

    with Client(address) as client, joblib.parallel_config(backend="dask"):
        backend, _ = joblib.parallel.get_active_backend()
        backend.effective_n_jobs = lambda jobs: max(_EXPECTED, sum(client.ncores().values()))
        yield


def collect(name: str, profile: Profile, work: Sequence[Task], store: Store) -> Table:
    """The table of those cells that the store holds, or the book, in the order of ``work``.

    Its provenance is that of its cells: a list where they differ, the seconds of each and their sum, and the largest
    of their peaks of resident memory in MiB (``None`` if no cell was computed on Linux, which counts it). ``stored``
    counts the rows that are kept with the book, ``older`` those of them that were computed by other code than today's.
    """
    results = [(task, store.get(task.key) if task.key else None) for task in work]
    kept = [task for task, own in results if own is None and task.stored is not None]
    found = [(task, own or task.stored) for task, own in results if own or task.stored]
    records = [record for _, record in found]
    frame = pd.DataFrame([record.fields | record.result for record in records])
    stamp = _merged([record.provenance for record in records] or [provenance.stamp(profile.device)])
    seconds = [record.provenance["seconds"] for record in records]
    stamp |= {"cells": len(work), "finished": len(found), "seconds": round(sum(seconds), 1), "cell_seconds": seconds}
    stamp["peak_mib"] = max((record.provenance.get("peak_mib") or 0 for record in records), default=0) or None
    stamp |= {"stored": len(kept), "older": sum(task.stored.provenance.get("key") != task.key for task in kept)}
    place = {task.cell: number for number, (task, _) in enumerate(found)}
    panels = {panel: [place.get(cell) for cell in one.cells] for panel, one in profile.panels[name].items()}
    return Table(name, profile.name, frame, stamp, [record.arrays for record in records], panels)


def _merged(stamps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the stamps share; a list where they differ."""
    merged = {}
    for name in dict.fromkeys(name for stamp in stamps for name in stamp if name != "key"):
        distinct = list({json.dumps(stamp.get(name)): stamp.get(name) for stamp in stamps}.values())
        merged[name] = distinct[0] if len(distinct) == 1 else distinct
    return merged


def measured(measure: Callable[[Any], dict], task: Task) -> tuple[Task, Record | str]:
    """The result of one cell, on one thread, or the last lines of its traceback."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # results do not depend on the machine's core count, and workers do not fight
    try:
        return task, _record(task, measure)
    except Exception:
        return task, traceback.format_exc(limit=-3)
    finally:
        torch.set_num_threads(threads)
        _memory.trim()  # a pool restarts a worker that has grown


def _record(task: Task, measure: Callable[[Any], dict]) -> Record:
    _peak_memory()  # what came before does not count
    start = time.perf_counter()
    result = measure(task.cell)
    facts = {"seconds": round(time.perf_counter() - start, 3), "peak_mib": _peak_memory()}
    arrays = {
        name: value.numpy(force=True) if isinstance(value, torch.Tensor) else value
        for name, value in result.items()
        if isinstance(value, np.ndarray | torch.Tensor)
    }
    scalars = {name: value for name, value in result.items() if name not in arrays}
    own = fields(task.cell)
    if both := sorted(own.keys() & result.keys()):  # a row of the table can hold only one of them
        raise ValueError(f"{both[0]}: a result of {task.table} and a field of its cell; accepted: different names")
    stamp = provenance.stamp(getattr(task.cell, "device", "cpu")) | facts
    return Record(task.table, own, scalars, stamp, arrays)


def _peak_memory() -> int | None:
    """The most MiB of memory that this process has held since the last call; ``None`` where nobody counts."""
    try:
        status = Path("/proc/self/status").read_text()  # Linux
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
