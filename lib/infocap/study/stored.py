"""What does the book keep of a run that its readers cannot repeat in minutes?

Rows of finished cells lie under version control in ``book/results/<profile>``: one JSON file per table, each row with
the stamp of its cell, and one file of packed arrays beside it, numbers only. Where the store has no result of a
cell, its stored row counts instead, found by the cell's fields.

Conventions: a study of days runs in parts, on several machines and at several commits, so what a new export does not
hold stays as it was stored. The device is no part of a cell's identity here. A row that was ``reduced`` to what a
figure draws is shown and kept, but never taken for a cell's result.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from infocap._files import replace
from infocap.study.cells import fields
from infocap.study.store import Record
from infocap.study.sweep import Task
from infocap.study.tables import Table, read, write

__all__ = ["STAMP", "export", "file_of", "load", "read_arrays", "save"]

STAMP = ["commit", "lock", "device", "seconds", "peak_mib", "key"]  # of each row; the lock names all versions


def file_of(folder: Path, table: str) -> Path:
    """The file of a table, such as ``noisy_labels_training.json``."""
    return folder / f"{table.replace('/', '_')}.json"


def load(folder: Path, table: str, kind: type) -> Callable[[Any], Record | None]:
    """What is stored of a table.

    Args:
        folder: Of the profile's results; it need not exist.
        table: Its name.
        kind: The class of its cells.

    Returns:
        A function from a cell to its stored result, ``None`` if there is none.

    Raises:
        ValueError: The file holds something else.
    """
    path = file_of(folder, table)
    if not path.exists():
        return lambda cell: None
    names = [field.name for field in fields_of(kind) if field.name != "device"]
    rows, arrays = read(path).frame.to_dict("records"), read_arrays(path)
    whole = {
        _identity(row, names): (row, arrays.get(number, {}))
        for number, row in enumerate(rows)
        if row.get("reduced") is not True and set(names) <= set(row)
    }

    def record(cell: Any) -> Record | None:
        own = fields(cell)
        row, arrays = whole.get(_identity(own, names), (None, {}))
        if row is None:
            return None
        stamp = {name: row.get(name) for name in STAMP}
        result = {name: _number(value) for name, value in row.items() if name not in {*STAMP, *own, "reduced"}}
        return Record(table, own, result, stamp, arrays)

    return record


def read_arrays(path: Path) -> dict[int, dict[str, np.ndarray]]:
    """The arrays beside a table's file, by row and name; empty if there are none."""
    packed = path.with_suffix(".npz")
    found: dict[int, dict[str, np.ndarray]] = {}
    if packed.exists():
        with np.load(packed, allow_pickle=False) as content:
            for name in content.files:
                row, _, array = name.partition("/")
                found.setdefault(int(row), {})[array] = content[name]
    return found


def export(
    name: str,
    profile: str,
    work: Sequence[Task],
    found: Sequence[tuple[Task, Record]],
    folder: Path,
    reduce: Callable[[Table], pd.DataFrame] | None = None,
) -> dict[Path, bytes | Table]:
    """The files of a table whose finished cells join what is stored already.

    Args:
        name: Of the table.
        profile: Name of the profile.
        work: All cells of the table in the profile.
        found: The finished ones, with what the store holds of them.
        folder: Of the profile's results.
        reduce: Keeps of each row what a figure draws, with the table's index; without it rows are whole.

    Returns:
        Contents by file, for ``save``.

    Raises:
        ValueError: The file of the folder holds something else, such as another profile.
    """
    path = file_of(folder, name)
    stamps = pd.DataFrame(
        [{part: (one.provenance | {"key": task.key}).get(part) for part in STAMP} for task, one in found]
    )
    table = Table(
        name, profile, pd.DataFrame([one.fields | one.result for _, one in found]), {}, [one.arrays for _, one in found]
    )
    frame = table.frame if reduce is None else reduce(table).assign(reduced=True)
    frame = frame.drop(columns="device", errors="ignore").join(stamps)
    arrays = [{} if reduce else one.arrays for _, one in found]
    names = [field.name for field in fields_of(type(work[0].cell)) if field.name in frame and field.name != "device"]
    if path.exists():
        old, stored = read(path), read_arrays(path)
        if (old.name, old.profile) != (name, profile) or not {*names, *STAMP[:-1]} <= set(old.frame):
            raise ValueError(f"{path}: accepted: rows of {name} in {profile} with their stamps, or no file")
        new = {_identity(row, names) for row in frame.to_dict("records")}
        kept = [place for place, row in enumerate(old.frame.to_dict("records")) if _identity(row, names) not in new]
        frame = pd.concat([old.frame.iloc[kept], frame], ignore_index=True)
        arrays = [*(stored.get(place, {}) for place in kept), *arrays]
    facts = {part: _distinct(frame[part]) for part in ("commit", "lock", "device")}
    facts |= {"cells": len(work), "finished": len(frame)}
    peaks = frame["peak_mib"].dropna()
    facts |= {"seconds": round(frame["seconds"].sum(), 1), "peak_mib": int(peaks.max()) if len(peaks) else None}
    files: dict[Path, bytes | Table] = {path: Table(name, profile, frame, facts)}
    if any(arrays):
        packed = BytesIO()
        content = {f"{row}/{array}": one[array] for row, one in enumerate(arrays) for array in one}
        np.savez_compressed(packed, **content)  # numbers only: no store takes anything else
        files[path.with_suffix(".npz")] = packed.getvalue()
    return files


def save(files: dict[Path, bytes | Table]) -> list[Path]:
    """Writes what ``export`` returned; each file is whole or as it was.

    Raises:
        OSError: A file cannot be written.
    """
    for path, content in files.items():
        if isinstance(content, Table):
            write(content, path)
        else:
            replace(path, content)
    return list(files)


def _identity(row: dict[str, Any], names: Sequence[str]) -> str:
    """The fields that tell cells apart, as text; 1 and 1.0 are the same number."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    return json.dumps([plain(row[name]) for name in names])


def _number(value: Any) -> Any:
    """JSON has no NaN: what a file has not is one, also inside lists."""
    if isinstance(value, dict):
        return {name: _number(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_number(part) for part in value]
    return math.nan if value is None else value


def _distinct(values: pd.Series) -> Any:
    found = values.drop_duplicates().tolist()
    return found[0] if len(found) == 1 else found
