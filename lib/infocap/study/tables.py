"""How do results become numbers on a page?

A table has one row per cell: the cell's fields beside its results. Means over runs always come with the number of runs
and an interval.

Conventions: intervals are 95 % Student t intervals of the mean over runs; with one run there is none (NaN).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["Table", "interval", "read", "summarize", "write"]


@dataclass(frozen=True)
class Table:
    """The results of one table in one profile.

    Attributes:
        name: Such as ``noisy_labels/training``.
        profile: Name of the profile.
        frame: One row per cell, in the profile's order: fields and results.
        provenance: Who computed it, with what.
        arrays: One dictionary of arrays per row.
    """

    name: str
    profile: str
    frame: pd.DataFrame
    provenance: dict[str, Any] = field(default_factory=dict)
    arrays: Sequence[dict[str, np.ndarray]] = ()


def write(table: Table, path: str | Path) -> None:
    """Writes a table as JSON: ``name``, ``profile``, ``rows`` and ``provenance``. Arrays are left out."""
    rows = json.loads(table.frame.to_json(orient="records", double_precision=15))
    content = {"name": table.name, "profile": table.profile, "rows": rows, "provenance": table.provenance}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def read(path: str | Path) -> Table:
    """Reads a table that ``write`` wrote."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    return Table(content["name"], content["profile"], pd.DataFrame(content["rows"]), content["provenance"])


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
        ``<value>_low`` and ``<value>_high``.

    Example:
        >>> frame = pd.DataFrame({"method": ["a", "a", "b"], "accuracy": [0.5, 0.7, 0.9]})
        >>> summarize(frame, ["method"], ["accuracy"])[["method", "runs", "accuracy"]].values.tolist()
        [['a', 2, 0.6], ['b', 1, 0.9]]
    """
    rows = []
    for group, part in frame.groupby(list(by), sort=False, dropna=False):
        row = dict(zip(by, group, strict=True)) | {"runs": len(part)}
        for value in values:
            low, high = interval(part[value].astype(float))
            row |= {value: float(part[value].mean()), f"{value}_low": low, f"{value}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
