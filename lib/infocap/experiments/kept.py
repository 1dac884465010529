"""What does the book keep of a run that its readers cannot repeat in minutes?

Chapters draw small stored tables of the profile ``full`` beside those of their own build. They hold what the figures
need and no arrays, so that they can lie under version control. ``python -m infocap.experiments.kept`` writes them, and
the verdicts of all claims, from the cells that the store holds. What it does not hold stays as it was stored: a study
of days runs in parts, on several machines and at several commits, and each file names its own.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from infocap import _files
from infocap.experiments.catalogue import CLAIMS, TABLES, work
from infocap.experiments.generalization.results import finished_sizes
from infocap.experiments.profiles import Profile, load_profile
from infocap.experiments.sample_information.dynamics_figures import last_step
from infocap.experiments.sample_information.results import finished_agreement
from infocap.study.claims import Verdict, scorecard
from infocap.study.scorecard import to_json
from infocap.study.store import Store
from infocap.study.sweep import collect
from infocap.study.tables import Table, read, write

__all__ = ["KEPT", "keep"]


def _whole(table: Table) -> pd.DataFrame:
    return table.frame


def _scalars(table: Table) -> pd.DataFrame:
    """Without columns that hold many numbers for each cell; classes and widths name the task."""
    many = table.frame.map(lambda value: isinstance(value, list | tuple | dict)).any()
    return table.frame.loc[:, ~many | many.index.isin(["classes", "widths"])]


KEPT: dict[str, Callable[[Table], pd.DataFrame]] = {
    "noisy_labels/training": _scalars,
    "sample_information/retraining": finished_agreement,
    "sample_information/summarization": _whole,
    "sample_information/detection": _scalars,
    "sample_information/dynamics": last_step,
    "generalization/training": finished_sizes,
    "distillation/flips": _whole,
}


def keep(profile: Profile, store: Store, folder: str | Path) -> list[Path]:
    """Writes ``scorecard.json`` and, for each table in ``KEPT`` that has finished cells, a small table.

    Verdicts and rows that the folder holds and that the store has no cells for are kept with their provenance.

    Args:
        profile: Decides which cells there are.
        store: Holds the finished ones; nothing is computed.
        folder: Receives the files; a table ``part/name`` becomes ``part_name.json``.

    Returns:
        The files that were written.

    Raises:
        ValueError: A file of the folder holds something else.
        OSError: A file cannot be written.
    """
    tables = {name: collect(name, profile.name, work(name, profile), store, profile.device) for name in TABLES}
    files = [Path(folder) / "scorecard.json"]
    rows = json.loads(to_json(scorecard(CLAIMS, tables, profile)))
    stored = {row["claim"]: row for row in json.loads(files[0].read_text())} if files[0].exists() else {}
    rows = [stored.get(row["claim"], row) if row["verdict"] == Verdict.NOT_RUN else row for row in rows]
    _files.replace(files[0], f"{json.dumps(rows, indent=1, allow_nan=False)}\n".encode())
    for name, reduce in KEPT.items():
        if len(tables[name].frame):
            files.append(files[0].with_name(f"{name.replace('/', '_')}.json"))
            new = Table(name, profile.name, reduce(tables[name]), tables[name].provenance)
            of_cell = {field.name for field in fields(TABLES[name].cells(profile)[0])} - {"device"} | {"width"}
            write(_with_stored(new, files[-1], [column for column in new.frame if column in of_cell]), files[-1])
    return files


def _with_stored(new: Table, path: Path, identity: Sequence[str]) -> Table:
    """``new`` after the stored rows of other cells; ``identity`` are the columns that tell cells apart."""

    def cells(frame: pd.DataFrame) -> pd.Series:
        return pd.Series([json.dumps([row[column] for column in identity]) for row in frame.to_dict("records")])

    facts = {name: value for name, value in new.provenance.items() if name != "cell_seconds"}
    if not path.exists():
        return replace(new, provenance=facts)
    old = read(path)
    if missing := set(identity) - set(old.frame):
        raise ValueError(f"{path}: its rows lack {min(missing)}; accepted: what this command wrote, or no file")
    others = old.frame[~cells(old.frame).isin(cells(new.frame))]
    if others.empty:
        return replace(new, provenance=facts)
    frame = pd.concat([others, new.frame], ignore_index=True)
    for name, value in facts.items():
        both = [*_as_list(old.provenance.get(name)), *_as_list(value)]
        distinct = [one for place, one in enumerate(both) if one not in both[:place]]
        facts[name] = distinct[0] if len(distinct) == 1 else distinct
    facts["finished"] = cells(frame).nunique()
    facts["seconds"] = round(old.provenance["seconds"] + new.provenance["seconds"], 1)
    facts["cells"], facts["peak_mib"] = (new.provenance[name] for name in ("cells", "peak_mib"))
    return replace(new, frame=frame, provenance=facts)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
