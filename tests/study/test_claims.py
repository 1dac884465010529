"""Every verdict, and that nothing but a whole interval beyond the threshold is called reproduced."""

import re
from pathlib import Path
from types import ModuleType

import nbformat
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.noisy_labels import claims as some_claims
from infocap.study.claims import (
    Claim,
    Decision,
    Estimate,
    NotRun,
    Verdict,
    agrees,
    claims_of,
    decide,
    exceeds,
    holds,
    in_each,
    scorecard,
    stays_below,
    within,
)
from infocap.study.tables import Table, interval

BOOK = Path(__file__).resolve().parents[2] / "book"
TABLE = Table("toy", "smoke", pd.DataFrame({"y": [1.0, 2.0]}))


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.31, 0.30, 0.32], Verdict.REPRODUCED),
        ([0.1, 0.3, 0.5], Verdict.PARTLY),  # the mean exceeds .2, the interval does not
        ([0.31], Verdict.PARTLY),  # one run
        ([0.1, 0.12], Verdict.NOT_REPRODUCED),
        ([0.2, 0.2], Verdict.NOT_REPRODUCED),  # equal does not exceed
        ([0.9, float("nan")], Verdict.NOT_REPRODUCED),
    ],
)
def test_verdicts_of_a_mean(values, verdict):
    decision = exceeds(values, 0.2, "gain")
    assert decision.verdict == verdict
    assert decision.evidence.startswith("gain: ") and decision.evidence.endswith("must exceed 0.2")


def test_evidence_says_how_many_runs():
    assert "95 % interval" in exceeds([1, 2], 0, "x").evidence and "2 runs" in exceeds([1, 2], 0, "x").evidence
    assert "1 run, no interval" in exceeds([1], 0, "x").evidence


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.floats(-10, 10))
def test_reproduced_means_the_whole_interval(values, threshold):
    reproduced = exceeds(values, threshold, "x").verdict == Verdict.REPRODUCED
    assert reproduced == (len(values) > 1 and interval(values)[0] > threshold)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.floats(-10, 10))
def test_staying_below_mirrors_exceeding(values, threshold):
    mirrored = exceeds([-value for value in values], -threshold, "x").verdict
    assert stays_below(values, threshold, "x").verdict == mirrored
    assert stays_below(values, threshold, "x").evidence.endswith(f"must stay below {threshold:g}")


def test_exact_statements():
    assert holds(True, "slack 0").verdict == Verdict.REPRODUCED
    assert holds(False, "slack -1") == Decision(Verdict.NOT_REPRODUCED, "slack -1")


def test_statistical_rules_carry_their_numbers():
    low, high = interval([1.0, 2.0, 3.0])
    estimate = Estimate("x", 2.0, low, high, 3)
    rules = [exceeds([1.0, 2.0, 3.0], 0, "x"), stays_below([1.0, 2.0, 3.0], 0, "x")]
    rules += [within([1.0, 2.0, 3.0], 0, 5, "x"), agrees([1.0, 2.0, 3.0], 2, "x")]
    assert [rule.estimates for rule in rules] == [(estimate,)] * 4
    assert in_each(rules[:2] + [exceeds([float("nan")], 0, "y")]).estimates == (
        estimate, estimate, Estimate("y", None, None, None, 1),
    )  # fmt: skip
    assert holds(True, "exact").estimates == ()


def test_a_claim_is_its_rule_and_stands_where_it_is_defined():
    found = claims_of(some_claims)
    assert found and all(isinstance(one, Claim) for one in found)
    names = [one.rule.__name__ for one in found]
    assert names == [name for name in vars(some_claims) if name in names]
    (first,) = [one for one in found if one.name == "noisy-labels/fano-toys"]
    assert first.rule.__doc__.startswith("Exact: equality") and first.statement.endswith(".")
    with pytest.raises(NotRun):
        first(TABLE)  # a claim is called as its rule


def test_a_claim_that_is_imported_counts_where_it_was_defined(monkeypatch):
    other = ModuleType("other")
    other.borrowed = claims_of(some_claims)[0]
    assert claims_of(other) == [] and claims_of(other, some_claims) == claims_of(some_claims)


def test_no_runs_is_not_a_failure():
    with pytest.raises(NotRun, match="gain: no runs"):
        exceeds([], 0.2, "gain")


def claim(rule):
    return Claim("part/claim", "A sentence.", "book", "here", "toy", rule, "93.1 %")


def test_missing_rows_are_not_run():
    def rule(table):
        return holds(bool(table.panel("main")["y"].all()), "")

    assert decide(claim(rule), TABLE) == Decision(Verdict.NOT_RUN, "panel main: not in this profile")


def test_an_empty_table_is_not_run_whatever_the_rule():
    empty = Table("toy", "smoke", pd.DataFrame())
    decision = decide(claim(lambda table: holds(table.frame["y"].all(), "")), empty)
    assert decision == Decision(Verdict.NOT_RUN, "no cell of toy was run")


def test_a_broken_rule_is_an_error_not_a_verdict():
    with pytest.raises(KeyError, match="no_such_column"):
        decide(claim(lambda table: holds(table.frame["no_such_column"].all(), "")), TABLE)


def test_scorecard_has_a_row_per_claim():
    def rule(table):
        """All exceed.

        The rest is not shown.
        """
        return holds(bool((table.frame["y"] > 1.5).all()), "all")

    (row,) = scorecard([claim(rule)], {"toy": TABLE}).to_dict("records")
    assert row == {
        "claim": "part/claim", "part": "toy", "statement": "A sentence.", "rule": "All exceed.", "kind": "book",
        "source": "here", "thesis": "93.1 %", "verdict": "not reproduced", "evidence": "all", "estimates": [],
        "figure": "", "note": "", "table": "toy", "profile": "smoke", "device": "unknown", "commit": "unknown",
    }  # fmt: skip


def test_the_books_claims_are_complete():
    names = [claim.name for claim in CATALOGUE.claims]
    assert len(names) == len(set(names))
    for item in CATALOGUE.claims:
        assert item.kind in ("theorem", "paper", "book") and item.table in CATALOGUE.tables
        assert item.statement.endswith(".") and item.source
        # A verdict that is not "reproduced" is explained; a theorem that fails would be a fault of the book.
        assert item.note.endswith(".") or (item.kind == "theorem" and not item.note), item.name


def test_every_claim_has_a_place_in_a_chapter():
    notebooks = [nbformat.read(path, as_version=4) for path in BOOK.glob("*/*.ipynb")]
    cells = [cell for notebook in notebooks for cell in notebook.cells]
    labels = {cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells}
    labels |= {
        label for cell in cells for label in re.findall(r"(?m)^(?::label: |\()([a-z0-9-]+)(?:\)=)?$", cell.source)
    }
    assert {item.figure for item in CATALOGUE.claims} <= labels


def test_the_scorecard_has_a_section_for_each_part_and_no_other():
    cells = nbformat.read(BOOK / "scorecard.ipynb", as_version=4).cells
    sections = re.findall(r'section\(rows, "(\w+)"\)', "\n".join(cell.source for cell in cells))
    assert sections == list(dict.fromkeys(item.table.split("/")[0] for item in CATALOGUE.claims))


def test_without_any_result_every_claim_of_the_book_is_not_run():
    tables = {name: Table(name, "smoke", pd.DataFrame()) for name in CATALOGUE.tables}
    rows = scorecard(CATALOGUE.claims, tables)
    assert set(rows["verdict"]) <= {"not run in this profile"}
