"""Means come with runs and intervals; a written table reads back to the last digit."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from infocap.study.tables import NotRun, Table, interval, read, summarize, write

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=2, max_size=8), st.sampled_from([0.5, 0.95]))
def test_interval_is_that_of_students_t(values, level):
    low, high = interval(values, level)
    error = stats.sem(values)
    if error > 1e-9 * (1 + abs(np.mean(values))):
        expected = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=error)
        np.testing.assert_allclose((low, high), expected, rtol=1e-6, atol=1e-6)
    assert low <= high or np.isnan(low)


def test_one_run_has_no_interval():
    assert np.isnan(interval([1.0])).all()
    assert interval([2.0, 2.0]) == (2.0, 2.0)


def test_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3, 2, size=(4000, 3))
    ends = np.array([interval(row) for row in draws])
    covered = ((ends[:, 0] <= 3) & (ends[:, 1] >= 3)).mean()
    assert abs(covered - 0.95) < 0.011  # three standard errors


def test_summarize_keeps_order_counts_runs_and_groups_by_missing_values():
    frame = pd.DataFrame({"method": ["b", "a", "b", "a"], "rate": [0.5, None, 0.5, None], "y": [1, 2, 3, 5]})
    rows = summarize(frame, ["method", "rate"], ["y"])
    assert list(rows.columns) == ["method", "rate", "runs", "y", "y_low", "y_high"]
    assert rows["method"].tolist() == ["b", "a"] and rows["runs"].tolist() == [2, 2] and rows["y"].tolist() == [2, 3.5]
    assert tuple(rows.loc[0, ["y_low", "y_high"]]) == interval([1, 3])


def test_summarize_hides_no_failed_run():
    rows = summarize(pd.DataFrame({"m": ["a", "a"], "y": [1.0, float("nan")]}), ["m"], ["y"])
    assert rows["runs"].tolist() == [2] and rows[["y", "y_low", "y_high"]].isna().all(axis=None)


def test_summarize_of_nothing_has_its_columns():
    rows = summarize(pd.DataFrame({"m": [], "y": []}), ["m"], ["y"])
    assert list(rows.columns) == ["m", "runs", "y", "y_low", "y_high"] and rows.empty


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)), min_size=1))
def test_a_table_reads_back_to_the_last_digit(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "part" / "table.json"
    frame = pd.DataFrame(rows, columns=["x", "n"])
    write(Table("part/table", "smoke", frame, {"commit": "abc"}), path)
    back = read(path)
    assert (back.name, back.profile, back.provenance) == ("part/table", "smoke", {"commit": "abc"})
    assert back.frame["x"].tolist() == frame["x"].tolist() and back.frame["n"].tolist() == frame["n"].tolist()
    assert [file.name for file in path.parent.iterdir()] == ["table.json"]


def test_a_written_table_is_json_that_everybody_reads(tmp_path):
    frame = pd.DataFrame({"x": [float("nan"), float("inf"), 1e-20], "curve": [{"y": [float("nan"), 1.0]}] * 3})
    write(Table("t", "smoke", frame), tmp_path / "t.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads((tmp_path / "t.json").read_text(), parse_constant=refuse)
    assert [row["x"] for row in content["rows"]] == [None, None, 1e-20]
    assert content["rows"][0]["curve"] == {"y": [None, 1.0]}
    assert read(tmp_path / "t.json").frame["x"].isna().tolist() == [True, True, False]


def test_equal_tables_are_equal_files(tmp_path):
    for name in ("a", "b"):
        write(Table("t", "smoke", pd.DataFrame({"x": [0.1 + 0.2]})), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "0.30000000000000004" in (tmp_path / "a").read_text()


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.json")


def test_a_panel_is_whole_or_not_run():
    frame = pd.DataFrame({"kind": ["a", "b", "a"], "y": [0, 1, 2]})
    table = Table("toy", "smoke", frame, panels={"a": [0, 2], "b": [1], "torn": [0, None], "empty": []})
    assert table.panel("a")["y"].to_dict() == {0: 0, 2: 2}  # the index says where the arrays are
    assert table.panel("b", "a")["y"].tolist() == [1, 0, 2]
    for name, message in [
        ("torn", "panel torn: 1 of 2 cells were run"),
        ("empty", "panel empty: not in this profile"),
        ("c", "panel c: not in this profile"),
    ]:
        with pytest.raises(NotRun, match=message):
            table.panel("a", name)
