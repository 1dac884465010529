"""What does the book keep of a run that its readers cannot repeat in minutes?

Chapters draw small stored tables of the profile ``full`` beside those of their own build. They hold what the figures
need and no arrays, so that they can lie under version control. ``python -m infocap.experiments.kept`` writes them, and
the verdicts of all claims, from the cells that the store holds. What it does not hold stays as it was stored: a study
of days runs in parts, on several machines and at several commits, and each file names its own.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from infocap._files import replace
from infocap.experiments.catalogue import CLAIMS, TABLES, work
from infocap.experiments.generalization.results import finished_sizes
from infocap.experiments.profiles import Profile, load_profile
from infocap.experiments.sample_information.dynamics_figures import last_step
from infocap.study.claims import Verdict, scorecard
from infocap.study.scorecard import to_json
from infocap.study.store import Store
from infocap.study.sweep import collect
from infocap.study.tables import Table, read, write

__all__ = ["KEPT", "keep"]

_STAMP = ["commit", "lock", "device", "seconds", "peak_mib"]  # of each row; the lock names all versions


def _whole(table: Table) -> pd.DataFrame:
    return table.frame


def _scalars(table: Table) -> pd.DataFrame:
    """Without columns that hold many numbers for each cell; classes and widths name the task."""
    many = table.frame.map(lambda value: isinstance(value, list | tuple | dict)).any()
    return table.frame.loc[:, ~many | many.index.isin(["classes", "widths"])]


KEPT: dict[str, Callable[[Table], pd.DataFrame]] = {  # one row per cell, with the table's index
    "noisy_labels/training": _scalars,
    "sample_information/summarization": _whole,
    "sample_information/detection": _scalars,
    "sample_information/dynamics": last_step,
    "generalization/training": finished_sizes,
    "distillation/flips": _whole,
}


def keep(profile: Profile, store: Store, folder: str | Path) -> list[Path]:
    """Writes ``scorecard.json`` and, for each table in ``KEPT`` that has finished cells, a small table.

    Each row has the stamp of its cell: commit, lock, device, seconds and peak memory. Verdicts that the folder holds
    and that the store cannot give stay, and so do rows of cells that the store does not hold.

    Args:
        profile: Decides which cells there are.
        store: Holds the finished ones; nothing is computed.
        folder: Receives the files; a table ``part/name`` becomes ``part_name.json``.

    Returns:
        The files that were written.

    Raises:
        ValueError: A file of the folder holds something else, such as another profile; nothing was written then.
        OSError: A file cannot be written.
    """
    tables = {name: collect(name, profile.name, work(name, profile), store, profile.device) for name in TABLES}
    path = Path(folder) / "scorecard.json"
    contents: dict[Path, Any] = {path: _verdicts(json.loads(to_json(scorecard(CLAIMS, tables, profile))), path)}
    for name, reduce in KEPT.items():
        records = [record for task in work(name, profile) if task.key and (record := store.get(task.key))]
        if records:
            path = path.with_name(f"{name.replace('/', '_')}.json")
            stamps = pd.DataFrame([{key: record.provenance.get(key) for key in _STAMP} for record in records])
            frame = reduce(tables[name]).drop(columns="device", errors="ignore").join(stamps)
            of_cell = {field.name for field in fields(TABLES[name].cells(profile)[0])}
            identity = [column for column in frame if column in of_cell - {"device"}]
            frame = _with_stored(Table(name, profile.name, frame), path, identity)
            facts = {key: _distinct(frame[key]) for key in ("commit", "lock", "device")}
            facts |= {"cells": tables[name].provenance["cells"], "finished": len(frame)}
            peaks = frame["peak_mib"].dropna()
            facts |= {"seconds": round(frame["seconds"].sum(), 1), "peak_mib": int(peaks.max()) if len(peaks) else None}
            contents[path] = Table(name, profile.name, frame, facts)
    for path, content in contents.items():
        if isinstance(content, Table):
            write(content, path)
        else:
            replace(path, f"{json.dumps(content, indent=1, allow_nan=False)}\n".encode())
    return list(contents)


def _verdicts(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The rows that decide, and those of the file where nothing was run for them."""
    profile = rows[0]["profile"]
    try:
        stored = json.loads(path.read_bytes()) if path.exists() else []
        found = {row["claim"]: row for row in [*stored, *rows] if row["verdict"] != Verdict.NOT_RUN}
        if {row["profile"] for row in found.values()} - {profile}:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: accepted: verdicts of the profile {profile}, or no file") from None
    return [found[row["claim"]] for row in rows if row["claim"] in found]


def _with_stored(new: Table, path: Path, identity: Sequence[str]) -> pd.DataFrame:
    """The rows of ``new`` after the stored ones of other cells; ``identity`` are the columns that tell cells apart."""

    def cells(frame: pd.DataFrame) -> list[str]:
        return [json.dumps([row[column] for column in identity]) for row in frame.to_dict("records")]

    if not path.exists():
        return new.frame
    old = read(path)
    if (old.name, old.profile) != (new.name, new.profile) or not {*identity, *_STAMP} <= set(old.frame):
        raise ValueError(f"{path}: accepted: rows of {new.name} in {new.profile} with their stamps, or no file")
    finished = set(cells(new.frame))
    others = old.frame[[cell not in finished for cell in cells(old.frame)]]
    return pd.concat([others, new.frame], ignore_index=True)


def _distinct(values: pd.Series) -> Any:
    found = values.drop_duplicates().tolist()
    return found[0] if len(found) == 1 else found


def main(
    profile: Annotated[str, typer.Option(help="smoke, quick or full")] = "full",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="repeatable")] = None,
    store: Annotated[str | None, typer.Option(help="folder of the store; default: the user's cache")] = None,
    folder: Annotated[Path, typer.Option(help="receives the files")] = Path("book/results/full"),
) -> None:
    """Writes the verdicts and small tables of the cells that the store holds; computes nothing."""
    for file in keep(load_profile(profile, settings or []), Store(store), folder):
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
