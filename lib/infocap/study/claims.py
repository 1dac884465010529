"""Did it reproduce?

A claim is a sentence with a rule: a small Python function that reads one table and decides, under the sentence in its
decorator. Nothing is typed by hand and nothing is tuned until it passes.

Conventions: the kinds are ``theorem`` (proved; checked exactly), ``paper`` (measured in the thesis or its papers) and
``book`` (a finding or a threshold of our own). A statistical rule asks for the 95 % interval of the mean over runs:
wholly on the claimed side of the threshold is *reproduced*, only the mean there is *partly*. Where there is no number
(no interval from a single run, a run that gave NaN) an estimate has ``None``.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import ModuleType
from typing import Literal

import numpy as np
import pandas as pd

from infocap.study.provenance import listed
from infocap.study.tables import NotRun, Table, interval

__all__ = [
    "Claim", "Decision", "Estimate", "Verdict", "agrees", "claim", "claims_of", "decide", "exceeds", "holds",
    "in_each", "scorecard", "stays_below", "within",
]  # fmt: skip


class Verdict(StrEnum):
    """What a rule can say."""

    REPRODUCED = "reproduced"
    PARTLY = "partly"
    NOT_REPRODUCED = "not reproduced"
    NOT_RUN = "not run in this profile"


@dataclass(frozen=True)
class Estimate:
    """A mean over independent runs with its 95 % interval.

    Attributes:
        what: Names the quantity.
        value: The mean.
        low: Lower end of the interval.
        high: Upper end.
        runs: How many.
    """

    what: str
    value: float | None
    low: float | None
    high: float | None
    runs: int


@dataclass(frozen=True)
class Decision:
    """A verdict and what it rests on: a short sentence, and the numbers of a statistical rule."""

    verdict: Verdict
    evidence: str
    estimates: tuple[Estimate, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence that a table decides; called with the table, it applies its rule.

    Attributes:
        name: A short identifier, ``part/claim``.
        statement: One sentence.
        kind: ``theorem``, ``paper`` or ``book``.
        source: Where the sentence comes from.
        table: Name of the table.
        rule: ``rule(table) -> Decision``; raises ``NotRun`` if rows are missing.
        thesis_number: The thesis' own number, where one was read.
        figure: Label of the figure that shows it, such as ``fig-limit-main``; where there is none, of a theorem or of
            a section (``sec-...``).
        note: What was tried and what would decide it, for readers of a verdict that is not *reproduced*.
    """

    name: str
    statement: str
    kind: Literal["theorem", "paper", "book"]
    source: str
    table: str
    rule: Callable[[Table], Decision]
    thesis_number: str = ""
    figure: str = ""
    note: str = ""

    def __call__(self, table: Table) -> Decision:
        return self.rule(table)

    @property
    def __wrapped__(self) -> Callable[[Table], Decision]:
        return self.rule  # whose source a page shows


def claim(statement: str, *, table: str, **facts: str) -> Callable[[Callable[[Table], Decision]], Claim]:
    """Decorates a rule: the function becomes the claim whose sentence stands above it.

    The claim's name is that of the table's part and of the function: ``limit_keeps_accuracy``, which reads
    ``noisy_labels/training``, becomes ``noisy-labels/limit-keeps-accuracy``.

    Args:
        statement: One sentence.
        table: Name of the table.
        **facts: The other attributes of ``Claim``: ``kind``, ``source``, and what else there is.

    Example:
        >>> @claim("Toys are large.", kind="book", source="ours", table="toys/sizes")
        ... def are_large(table):
        ...     return exceeds(table.frame["size"], 1, "size")
        >>> are_large.name
        'toys/are-large'
        >>> decide(are_large, Table("toys/sizes", "quick", pd.DataFrame({"size": [2.0, 3.0, 2.5]}))).verdict.value
        'reproduced'
    """

    def decorate(rule: Callable[[Table], Decision]) -> Claim:
        name = f"{table.split('/')[0]}/{rule.__name__}".replace("_", "-")
        return Claim(name, statement, table=table, rule=rule, **facts)

    return decorate


def claims_of(*modules: ModuleType) -> list[Claim]:
    """The claims that modules define, in the order in which they stand there."""
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Claim) and value.rule.__module__ == module.__name__
    ]


def decide(claim: Claim, table: Table) -> Decision:
    """Applies the claim's rule; a table without the needed rows gives *not run in this profile*."""
    if table.frame.empty:
        return Decision(Verdict.NOT_RUN, f"no cell of {table.name} was run")
    try:
        return claim.rule(table)
    except NotRun as error:
        return Decision(Verdict.NOT_RUN, str(error))


def exceeds(values: Sequence[float], threshold: float, what: str) -> Decision:
    """Decides "the mean of ``values`` exceeds ``threshold``" from independent runs.

    Args:
        values: ``[runs]``.
        threshold: What the mean must exceed.
        what: Names the quantity in the evidence.

    Returns:
        *Reproduced* if the 95 % interval of the mean lies above the threshold, *partly* if only the mean does (or if
        there is a single run), *not reproduced* otherwise, also if a run gave NaN.

    Raises:
        NotRun: ``values`` is empty.

    Example:
        >>> exceeds([0.31, 0.30, 0.32], 0.2, "gain").verdict.value
        'reproduced'
        >>> exceeds([0.31], 0.2, "gain").evidence
        'gain: 0.310 (1 run, no interval); must exceed 0.2'
    """
    return _compare(values, threshold, what, above=True)


def stays_below(values: Sequence[float], threshold: float, what: str) -> Decision:
    """Decides "the mean of ``values`` is below ``threshold``"; otherwise as ``exceeds``.

    Example:
        >>> stays_below([0.31], 0.2, "share").evidence
        'share: 0.310 (1 run, no interval); must stay below 0.2'
    """
    return _compare(values, threshold, what, above=False)


def _compare(values: Sequence[float], threshold: float, what: str, above: bool) -> Decision:
    if not len(values):
        raise NotRun(f"{what}: no runs")
    mean, (low, high) = float(np.mean(values)), interval(values)
    mean_holds, interval_holds = (mean > threshold, low > threshold) if above else (mean < threshold, high < threshold)
    verdict = (Verdict.REPRODUCED if interval_holds else Verdict.PARTLY) if mean_holds else Verdict.NOT_REPRODUCED
    spread = f"95 % interval {low:.3f} to {high:.3f}, {len(values)} runs" if len(values) > 1 else "1 run, no interval"
    wanted = "must exceed" if above else "must stay below"
    return Decision(verdict, f"{what}: {mean:.3f} ({spread}); {wanted} {threshold:g}", (_estimate(values, what),))


def _estimate(values: Sequence[float], what: str) -> Estimate:
    mean, (low, high) = float(np.mean(values)), interval(values)
    value, low, high = (number if math.isfinite(number) else None for number in (mean, low, high))
    return Estimate(what, value, low, high, len(values))


def within(values: Sequence[float], low: float, high: float, what: str) -> Decision:
    """Decides "the mean of ``values`` lies between ``low`` and ``high``"; otherwise as ``exceeds``.

    Example:
        >>> within([2.5, 2.6, 2.7], 2, 4, "ratio").verdict.value
        'reproduced'
    """
    below, above = exceeds(values, low, what), stays_below(values, high, what)
    verdict = max(below.verdict, above.verdict, key=[Verdict.REPRODUCED, Verdict.PARTLY, Verdict.NOT_REPRODUCED].index)
    numbers = below.evidence.rsplit("; ", 1)[0]
    return Decision(verdict, f"{numbers}; must lie between {low:g} and {high:g}", below.estimates)


def agrees(values: Sequence[float], number: float, what: str) -> Decision:
    """Decides "``number`` lies in the 95 % interval of the mean of ``values``".

    Raises:
        NotRun: Fewer than two runs, so that there is no interval.

    Example:
        >>> agrees([0.1, 0.2, 0.3], 0.25, "gap").evidence
        'gap: 0.200 (95 % interval -0.048 to 0.448, 3 runs) against 0.25; must include it in the interval'
    """
    if len(values) < 2:
        raise NotRun(f"{what}: {len(values)} runs, no interval")
    low, high = interval(values)
    spread = f"95 % interval {low:.3f} to {high:.3f}, {len(values)} runs"
    evidence = f"{what}: {np.mean(values):.3f} ({spread}) against {number:g}; must include it in the interval"
    return Decision(holds(low <= number <= high, evidence).verdict, evidence, (_estimate(values, what),))


def in_each(decisions: Iterable[Decision]) -> Decision:
    """One verdict for several tasks: that of all if they agree, *partly* if they do not.

    The threshold, which ends the evidence after a semicolon, must be the same for all.

    Example:
        >>> in_each([exceeds([1.0], 0, "a"), exceeds([-1.0], 0, "b")]).evidence
        'a: 1.000 (1 run, no interval); b: -1.000 (1 run, no interval); each must exceed 0'
    """
    decisions = list(decisions)
    verdicts = {decision.verdict for decision in decisions}
    verdict = verdicts.pop() if len(verdicts) == 1 else Verdict.PARTLY
    numbers, wanted = zip(*(decision.evidence.rsplit("; ", 1) for decision in decisions), strict=True)
    estimates = tuple(estimate for decision in decisions for estimate in decision.estimates)
    return Decision(verdict, f"{'; '.join(numbers)}; each {wanted[0]}", estimates)


def holds(condition: bool, evidence: str) -> Decision:
    """Decides an exact statement: *reproduced* or *not reproduced*."""
    return Decision(Verdict.REPRODUCED if condition else Verdict.NOT_REPRODUCED, evidence)


def scorecard(claims: Sequence[Claim], tables: Mapping[str, Table]) -> pd.DataFrame:
    """Decides every claim.

    Returns:
        One row per claim: ``claim``, ``part``, ``statement``, ``rule`` (its first sentence), ``kind``, ``source``,
        ``thesis``, ``verdict``, ``evidence``, ``estimates`` (dictionaries with the fields of ``Estimate``),
        ``figure``, ``note``, ``table``, ``profile``, and the ``device`` and ``commit`` that computed the table.
    """
    rows = []
    for claim in claims:
        table = tables[claim.table]
        decision = decide(claim, table)
        rows.append(
            {
                "claim": claim.name,
                "part": claim.table.split("/")[0],
                "statement": claim.statement,
                "rule": (claim.rule.__doc__ or "").split("\n")[0],
                "kind": claim.kind,
                "source": claim.source,
                "thesis": claim.thesis_number,
                "verdict": decision.verdict.value,
                "evidence": decision.evidence,
                "estimates": [asdict(estimate) for estimate in decision.estimates],
                "figure": claim.figure,
                "note": claim.note,
                "table": claim.table,
                "profile": table.profile,
                "device": listed(table.provenance.get("device", "unknown")),
                "commit": listed(table.provenance.get("commit", "unknown")),
            }
        )
    return pd.DataFrame(rows)
