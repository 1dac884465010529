"""How does the page of verdicts look, and where do the results of the full profile come from?

``infocap.study.claims.scorecard`` decides every claim from the tables of this build. Verdicts of the ``full`` profile
are stored: whoever has run a part of it adds them to ``book/results/full/scorecard.json`` by ``python -m
infocap.experiments.kept``. The functions here join the two, count, and write them as Markdown for Sphinx.

Conventions: a claim's note is shown where a verdict says *partly* or *not reproduced*; the verdict decides that.
"""

import base64
import html
import json
import re
from datetime import date
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, TypeAdapter, ValidationError

from infocap.study.claims import Estimate, Verdict

__all__ = ["beside", "count", "download", "section", "to_json", "with_stored"]

_OPEN = (Verdict.PARTLY, Verdict.NOT_REPRODUCED)


class Stored(BaseModel):
    """What the page needs of a stored verdict; other fields are ignored."""

    claim: str
    profile: Literal["full"]
    verdict: Verdict
    evidence: str
    estimates: list[Estimate]
    device: str
    commit: str
    date: date


def to_json(rows: pd.DataFrame) -> str:
    """The scorecard as a JSON list, one object per claim, each with today's date."""
    today = {"date": date.today().isoformat()}
    return json.dumps([row | today for row in rows.to_dict("records")], indent=1, allow_nan=False)


def with_stored(rows: pd.DataFrame, path: str | Path | None) -> pd.DataFrame:
    """Puts stored verdicts of the full profile beside those of this build.

    Args:
        rows: From ``infocap.study.claims.scorecard``.
        path: A file of ``to_json``; it need not exist, nor be known.

    Returns:
        The rows with a column ``full``: a dictionary with the fields of ``Stored``, or ``None`` if there is no verdict.

    Raises:
        ValueError: The file is not what the command writes for the full profile.
    """
    stored = []
    if path is not None and (path := Path(path)).exists():
        try:
            stored = TypeAdapter(list[Stored]).validate_json(path.read_bytes())
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            accepted = "what python -m infocap.experiments.kept wrote of the profile full"
            raise ValueError(f"{path}: {place or 'file'}: {fault['msg']}; accepted: {accepted}") from None
    found = {one.claim: one.model_dump(mode="json") for one in stored if one.verdict != Verdict.NOT_RUN}
    return rows.assign(full=[found.get(name) for name in rows["claim"]])


def beside(rows: pd.DataFrame) -> pd.DataFrame:
    """The claims of one chapter as it shows them: verdicts of a stored full run stand beside those of this build.

    Args:
        rows: From ``with_stored``.

    Returns:
        The columns ``statement``, ``kind``, ``verdict`` and ``evidence``.
    """
    verdicts = [
        f"{verdict}; in full: {one['verdict']}" if one else verdict
        for verdict, one in zip(rows["verdict"], rows["full"], strict=True)
    ]
    return rows.assign(verdict=verdicts)[["statement", "kind", "verdict", "evidence"]]


def count(rows: pd.DataFrame) -> pd.DataFrame:
    """How many claims have each verdict: by kind, by part, all, and all in the stored full profile.

    Args:
        rows: From ``with_stored``.

    Returns:
        A column ``claims`` that names the line, one per verdict, and their sum.
    """
    full = rows.assign(verdict=[one["verdict"] if one else Verdict.NOT_RUN.value for one in rows["full"]])
    lines = {name.replace("_", " "): part for by in ("kind", "part") for name, part in rows.groupby(by, sort=False)}
    lines |= {"all": rows, "all, in full": full}
    counts = {name: part["verdict"].value_counts() for name, part in lines.items()}
    frame = pd.DataFrame(counts).T.reindex(columns=[verdict.value for verdict in Verdict]).fillna(0).astype(int)
    return frame.assign(sum=frame.sum(axis=1)).rename_axis(index="claims", columns=None).reset_index()


def section(rows: pd.DataFrame, part: str) -> str:
    """The claims of one part as a table in MyST Markdown.

    Args:
        rows: From ``with_stored``.
        part: Such as ``noisy_labels``.

    Raises:
        ValueError: The part has no claims.
    """
    parts = dict.fromkeys(rows["part"])
    if part not in parts:
        raise ValueError(f"part: got {part!r}; accepted: {', '.join(parts)}")
    rows = rows[rows["part"] == part]
    lines = ["```{list-table}", ":header-rows: 1", ":class: scorecard", ":widths: 48 14 38", ""]
    for cells in (("claim", "verdict", "numbers"), *map(_cells, rows.to_dict("records"))):
        for place, cell in enumerate(cells):
            first, *rest = cell.split("\n")
            lines.append(f"{'* -' if place == 0 else '  -'} {first}")
            lines += [f"    {line}" if line else "" for line in rest]
    return "\n".join([*lines, "```"])


def download(rows: pd.DataFrame) -> str:
    """A link that saves the scorecard as JSON; the page holds the file, so that the two never differ."""
    content = base64.b64encode(to_json(rows).encode()).decode()
    return f'<a download="scorecard.json" href="data:application/json;base64,{content}">scorecard.json</a>'


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    full = row["full"]
    role = {"fig": "numref", "sec": "ref"}.get(row["figure"].split("-")[0], "prf:ref")
    claim = [row["statement"], f"*{row['kind']}* · {row['source']} · {{{role}}}`{row['figure']}`"]
    if {row["verdict"], full and full["verdict"]} & set(_OPEN):
        claim.append(row["note"] or "No note yet.")
    rule, evidence = (html.escape(text) for text in (row["rule"], row["evidence"]))
    claim.append(f"<details><summary>rule and evidence</summary><p>{rule}</p><p>{evidence}</p></details>")
    stored = Verdict.NOT_RUN.value
    if full:
        stored = f"{full['verdict']}; {_ours(full)}; {_plain(full['device'])}, {full['date']}"
    numbers = {"thesis": _plain(row["thesis"] or "–"), row["profile"]: _ours(row), "full, stored": stored}
    return "\n\n".join(claim), row["verdict"], "\n\n".join(f"*{name}* · {text}" for name, text in numbers.items())


def _ours(row: dict[str, Any]) -> str:
    """The numbers of a verdict; many of them as their range."""
    if row["verdict"] == Verdict.NOT_RUN:
        return "–"
    estimates = [Estimate(**estimate) for estimate in row["estimates"]]
    if not estimates:
        return _plain(row["evidence"])
    if len(estimates) <= 2:
        return "; ".join(_plain(f"{estimate.what}: {_number(estimate)}") for estimate in estimates)
    means, lows, highs = (
        [value for value in values if value is not None]
        for values in zip(*((one.value, one.low, one.high) for one in estimates), strict=True)
    )
    text = f"{len(estimates)} means: " + (f"{min(means):.3f} to {max(means):.3f}" if means else "no numbers")
    return _plain(text + (f", intervals within [{min(lows):.3f}, {max(highs):.3f}]" if lows else ""))


def _number(estimate: Estimate) -> str:
    mean = "no number" if estimate.value is None else f"{estimate.value:.3f}"
    spread = "" if estimate.low is None else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{mean}{spread}, {estimate.runs} run{'s' if estimate.runs > 1 else ''}"


def _plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own."""
    return re.sub(r"([\\`*_{}\[\]<>$|~#])", r"\\\1", text)
