"""Every verdict, and that nothing but a whole interval beyond the threshold is called reproduced."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infocap.experiments import catalogue as book
from infocap.study.claims import Claim, Decision, NotRun, Verdict, decide, exceeds, holds, scorecard, stays_below
from infocap.study.tables import Table, interval

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


def test_no_runs_is_not_a_failure():
    with pytest.raises(NotRun, match="gain: no runs"):
        exceeds([], 0.2, "gain")


def claim(rule):
    return Claim("part/claim", "A sentence.", "book", "here", "toy", rule, "93.1 %")


def test_missing_rows_are_not_run():
    def rule(table, profile):
        raise NotRun(f"panel main in {profile}")

    assert decide(claim(rule), TABLE, "smoke") == Decision(Verdict.NOT_RUN, "panel main in smoke")


def test_an_empty_table_is_not_run_whatever_the_rule():
    empty = Table("toy", "smoke", pd.DataFrame())
    decision = decide(claim(lambda table, profile: holds(table.frame["y"].all(), "")), empty, None)
    assert decision == Decision(Verdict.NOT_RUN, "no cell of toy was run")


def test_a_broken_rule_is_an_error_not_a_verdict():
    with pytest.raises(KeyError, match="no_such_column"):
        decide(claim(lambda table, profile: holds(table.frame["no_such_column"].all(), "")), TABLE, None)


def test_scorecard_has_a_row_per_claim():
    def rule(table, profile):
        """All exceed.

        The rest is not shown.
        """
        return holds(bool((table.frame["y"] > profile).all()), "all")

    (row,) = scorecard([claim(rule)], {"toy": TABLE}, 1.5).to_dict("records")
    assert row == {
        "claim": "part/claim", "statement": "A sentence.", "rule": "All exceed.", "kind": "book", "source": "here",
        "thesis": "93.1 %", "verdict": "not reproduced", "evidence": "all", "table": "toy",
    }  # fmt: skip


def test_the_books_claims_are_complete():
    names = [claim.name for claim in book.CLAIMS]
    assert len(names) == len(set(names))
    for item in book.CLAIMS:
        assert item.kind in ("theorem", "paper", "book") and item.table in book.TABLES
        assert item.statement.endswith(".") and item.source


def test_without_any_result_every_claim_of_the_book_is_not_run():
    tables = {name: Table(name, "smoke", pd.DataFrame()) for name in book.TABLES}
    rows = scorecard(book.CLAIMS, tables, book.load_profile("smoke"))
    assert set(rows["verdict"]) <= {"not run in this profile"}
