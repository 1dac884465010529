"""How do results become numbers on a page?

A table has one row per cell: the cell's fields beside its results. Means over runs always come with the number of runs
and an interval.

Conventions: a table knows its panels, the rows that a profile names together. A panel comes whole or not at all.
Intervals are 95 % Student t intervals of the mean over runs; with one run there is none (NaN).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy import stats

from infocap._files import replace

__all__ = ["NotRun", "Table", "interval", "read", "summarize", "value_text", "write"]


class NotRun(LookupError):
    """The rows that are asked for are not in the table."""


@dataclass(frozen=True)
class Table:
    """The results of one table in one profile.

    Attributes:
        name: Such as ``noisy_labels/training``.
        profile: Name of the profile.
        frame: One row per cell, in the profile's order: fields and results.
        provenance: Who computed it, with what.
        arrays: One dictionary of arrays per row.
        panels: For each panel of the profile the rows of its cells, ``None`` where a cell has not been run.

    Example:
        >>> table = Table("toys", "quick", pd.DataFrame({"x": [1, 2, 3]}), panels={"main": [0, 2]})
        >>> table.panel("main")["x"].tolist()
        [1, 3]
    """

    name: str
    profile: str
    frame: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    arrays: Sequence[dict[str, np.ndarray]] = ()
    panels: Mapping[str, Sequence[int | None]] = field(default_factory=dict)

    def panel(self, *names: str) -> pd.DataFrame:
        """The rows of one panel, or of several one after another; the index says where their arrays are.

        Raises:
            NotRun: The profile lacks the panel, or some of its cells have not been run.
        """
        rows: list[int] = []
        for name in names:
            places = self.panels.get(name, ())
            found = [place for place in places if place is not None]
            if not found or len(found) < len(places):
                lacks = f"{len(found)} of {len(places)} cells were run" if places else "not in this profile"
                raise NotRun(f"panel {name}: {lacks}")
            rows += found
        return self.frame.iloc[rows]


class _File(BaseModel):
    """What a table's file must hold."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    profile: str
    rows: list[dict[str, Any]]
    provenance: dict[str, Any]


def write(table: Table, path: str | Path) -> None:
    """Writes a table as JSON: ``name``, ``profile``, ``rows`` and ``provenance``.

    Numbers are written to the last digit; NaN and infinities, which JSON lacks, become ``null``; arrays are left out.

    Raises:
        OSError: The file cannot be written.
    """
    rows = _without_nan(table.frame.to_dict("records"))
    content = {"name": table.name, "profile": table.profile, "rows": rows, "provenance": table.provenance}
    try:
        replace(Path(path), (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise OSError(f"table: cannot write {path} ({error.strerror or error})") from error


def read(path: str | Path) -> Table:
    """Reads a table that ``write`` wrote.

    Raises:
        ValueError: The file holds something else; names it, what is wrong, and what is accepted.
        OSError: It cannot be read.
    """
    try:
        content = _File.model_validate_json(Path(path).read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = "".join(f"{part}: " for part in fault["loc"])
        accepted = "what write wrote: name, profile, rows (one dictionary each) and provenance"
        raise ValueError(f"{path}: {place}{fault['msg']}; accepted: {accepted}") from None
    return Table(content.name, content.profile, pd.DataFrame(content.rows), content.provenance)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The Student t interval of a mean.

    Args:
        values: ``[runs]``, independent runs.
        level: Confidence level.

    Returns:
        Lower and upper end; NaN for fewer than two runs.

    Example:
        >>> low, high = interval([1.0, 2.0, 3.0])
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def summarize(frame: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Means over runs with their intervals.

    Args:
        frame: One row per run.
        by: Columns that say which runs belong together; NaN counts as a value.
        values: Columns to average.

    Returns:
        One row per group, in order of first appearance: ``by``, ``runs``, and for each value ``<value>``,
        ``<value>_low`` and ``<value>_high``. A NaN in one run makes the mean NaN: no run is left out silently.

    Example:
        >>> frame = pd.DataFrame({"method": ["a", "a", "b"], "accuracy": [0.5, 0.7, 0.9]})
        >>> summarize(frame, ["method"], ["accuracy"])[["method", "runs", "accuracy"]].values.tolist()
        [['a', 2, 0.6], ['b', 1, 0.9]]
    """
    columns = [*by, "runs", *(value + end for value in values for end in ("", "_low", "_high"))]
    rows = []
    for group, part in frame.groupby(list(by), sort=False, dropna=False):
        row = [*group, len(part)]
        for value in values:
            numbers = part[value].to_numpy(dtype=float)
            row += [float(numbers.mean()), *interval(numbers)]
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def value_text(values: Sequence[float], digits: int = 3) -> str:
    """A mean over runs with half its 95 % t interval; one run has no interval.

    Example:
        >>> value_text([0.5, 0.7, 0.6], digits=2), value_text([0.5])
        ('0.60 ±\xa00.25', '0.500')
    """
    values = [float(value) for value in values]
    low, high = interval(values)
    mean = sum(values) / len(values)
    spread = f" ±\N{NO-BREAK SPACE}{(high - low) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
