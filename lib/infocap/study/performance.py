"""How does the page of measured times look?

``make bench`` and ``make bench-peers`` store their rows in book/results. A row compares one operation with a reference
that was measured in the same run; the functions here sort the rows by what they hold and show them as tables.

Conventions: times are those that the processor spent, on one thread, unless a row says otherwise. A row is a
dictionary; its keys say what was measured: ``ours_ms`` a time, ``ours_mib`` memory, ``times_ms`` growth with size.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd

from infocap.study import style

__all__ = ["compared", "figure", "growth", "limits", "load", "notes", "of_group", "shortfalls", "summary"]

Row = dict[str, Any]


def load(path: str | Path) -> dict[str, Any]:
    """Reads what a bench wrote.

    Args:
        path: A JSON file with ``rows`` and ``provenance``.

    Returns:
        Its content.

    Raises:
        ValueError: The file holds something else.
        OSError: It cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not all(isinstance(row["operation"], str) for row in content["rows"]):
            raise TypeError
        return content | {"provenance": dict(content["provenance"])}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: accepted: what make bench wrote, rows with an operation, and provenance") from None


def summary(content: dict[str, Any]) -> str:
    """When and with what the rows were measured, and how many meet their target; Markdown."""
    rows, facts = content["rows"], content["provenance"]
    verdicts = [row["verdict"] for row in rows if row["target"]]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("ok", "falls short", "not measured"))
    return (
        f"Measured on {facts['date']} at commit `{facts['commit']}`, on {facts['device']} ({facts['system']}), "
        f"with torch {facts['packages']['torch']}. Of {len(rows)} rows {len(verdicts)} have a target: {counts}."
    )


def shortfalls(rows: Sequence[Row]) -> str:
    """Rows that miss their target, are far from their limit or slower than another package, and why; Markdown."""
    lines = []
    for row in rows:
        if row["verdict"] == "falls short":
            amounts = f", {_amount(row, 'ours')} against {_amount(row, 'reference')}" if "ratio" in row else ""
            found = f"{_found(row)}{amounts}" if "ratio" in row or "times_ms" in row else _amount(row, "ours")
            line = f"- **{row['operation']}**: {found}, target {_target(row)}."
            lines.append(f"{line} {_sentence(row['note'])}".rstrip())
        if row.get("profile"):
            share = f"{100 * row['fraction']:.0f} % of what its {row['limit_by']} allows"
            taken = row["profile"].replace("_", r"\_")
            lines.append(f"- **{row['operation']}**: {share}. What takes the time: {taken}.")
        if row.get("gain") and row["ratio"] < 1 and "group" not in row:  # beside another package
            lines.append(f"- **{row['operation']}**: {_found(row)}. {_sentence(row['note'])}".rstrip())
    return "\n".join(lines) or "No row falls short of its target."


def notes(content: dict[str, Any]) -> str:
    """The notes of the rows, and the versions of other packages that they speak of; Markdown."""
    lines = [f"- {row['operation']}: {row['note']}." for row in content["rows"] if row["note"]]
    if peers := content["provenance"].get("peers"):
        packages = ", ".join(f"{name} {version}" for name, version in peers.items())
        lines += ["", f"Versions: {packages}. Measured on {content['provenance']['date']}."]
    return "\n".join(lines)


def of_group(rows: Sequence[Row], group: str) -> list[Row]:
    """The timed rows of one group, measured or not."""
    return [row for row in rows if row.get("group") == group and not {"ours_mib", "times_ms"} & row.keys()]


def compared(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per row: verdict, quotient of ours and the reference in words, target, and time and memory of both."""
    return pd.DataFrame(
        [
            {
                "operation": row["operation"],
                "verdict": row["verdict"] or "–",
                "ours against the reference": _found(row),
                "target": _target(row),
                "ours": _with_memory(row, "ours"),
                "reference": _with_memory(row, "reference"),
            }
            for row in rows
        ],
        columns=["operation", "verdict", "ours against the reference", "target", "ours", "reference"],
    )


def limits(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows that say what bounds them: arithmetic, bytes, the time that the machine needs at least, our share."""
    return pd.DataFrame(
        [
            {
                "operation": row["operation"],
                "GFLOP": f"{row['flops'] / 1e9:,.2f}",
                "MB moved": f"{row['bytes'] / 1e6:,.1f}",
                "bound by": row["limit_by"],
                "at least": _duration(row["limit_ms"]),
                "ours": _amount(row, "ours"),
                "share of the limit": f"{100 * row['fraction']:.0f} %",
            }
            for row in rows
            if row.get("fraction") is not None
        ]
    )


def growth(rows: Sequence[Row]) -> pd.DataFrame:
    """One line per operation: its exponent, that of its arithmetic, the time and the memory at the largest size."""
    return pd.DataFrame(
        [
            {
                "operation": row["operation"],
                "size": f"{row['variable']}, {row['sizes'][0]:,} to {row['sizes'][-1]:,}",
                "exponent": f"{row['exponent']:.2f}",
                "of its arithmetic": f"{row['predicted']:.2f}",
                "time at the end": _duration(row["times_ms"][-1]),
                "memory at the end": "–" if row["peak_mib"] is None else f"{row['peak_mib']:,.0f}\N{NO-BREAK SPACE}MiB",
                "verdict": row["verdict"],
            }
            for row in _growing(rows)
        ]
    )


@style.styled
def figure(rows: Sequence[Row]) -> plt.Figure:
    """Time against size on logarithmic axes, one panel per operation; dashed, what the arithmetic predicts."""
    rows = _growing(rows)
    lines = math.ceil(len(rows) / 2)
    made, axes = plt.subplots(lines, 2, figsize=(1.2 * style.WIDTH, 2.1 * lines), squeeze=False)
    for axis in axes.flat[len(rows) :]:
        axis.remove()
    for row, axis in zip(rows, axes.flat, strict=False):
        sizes, times = row["sizes"], row["times_ms"]
        center = [math.exp(sum(map(math.log, values)) / len(values)) for values in (sizes, times)]
        straight = [center[1] * (size / center[0]) ** row["predicted"] for size in sizes]
        axis.loglog(sizes, straight, "--", color=style.PALETTE[1])
        axis.loglog(sizes, times, "o-", color=style.PALETTE[0])
        title = row["operation"].replace(", ", ",\n", 1)
        axis.set_title(f"{title}\n{row['exponent']:.2f}, arithmetic {row['predicted']:.2f}", fontsize="small")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel(row["variable"])
        axis.set_ylabel("milliseconds")
    style.note(made, "one thread, medians of repeated runs; dashed: the slope of the arithmetic")
    return made


def _growing(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if "times_ms" in row]


def _found(row: Row) -> str:
    if "times_ms" in row:
        return f"exponent {row['exponent']:.2f} where its arithmetic has {row['predicted']:.2f}"
    ratio = row.get("ratio")
    if ratio is None:
        return "–"
    number = f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
    if "ours_mib" in row:
        return f"{number} times as much"
    if row.get("gain") and ratio < 1:
        return f"{1 / ratio:.3g} times as long"
    return f"{number} times as fast" if row.get("gain") else f"{number} times as long"


def _target(row: Row) -> str:
    return row["target"].replace("<=", "≤").replace(">=", "≥") or "–"


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}." if note else ""


def _amount(row: Row, side: str) -> str:
    if row.get(f"{side}_ms") is not None:
        return _duration(row[f"{side}_ms"])
    return f"{row[f'{side}_mib']:,.0f}\N{NO-BREAK SPACE}MiB" if f"{side}_mib" in row else "–"


def _with_memory(row: Row, side: str) -> str:
    rise = row.get(f"{side}_rise_mib")
    if rise is None:
        return _amount(row, side)
    size = f"{rise:,.0f}" if rise >= 1 else "under 1"
    return f"{_amount(row, side)}, {size}\N{NO-BREAK SPACE}MiB"


def _duration(milliseconds: float) -> str:
    unit, amount = ("ms", milliseconds) if milliseconds < 999.5 else ("s", milliseconds / 1e3)
    return f"{amount:,.0f}\N{NO-BREAK SPACE}{unit}" if amount >= 999.5 else f"{amount:.3g}\N{NO-BREAK SPACE}{unit}"
