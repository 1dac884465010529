"""The bench's arithmetic, and the form of what it stored: the page Performance is made of it."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from infocap.experiments.catalogue import CATALOGUE
from infocap.study import performance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "book" / "results"


@pytest.fixture(scope="module")
def bench():
    """The modules of tests/bench, which import each other by name; folders of tests may have the same names."""
    folder = ROOT / "tests" / "bench"
    names = {path.stem for path in folder.glob("*.py")}
    others = {name: sys.modules.pop(name) for name in names & set(sys.modules)}
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))
    for name in names & set(sys.modules):
        del sys.modules[name]
    sys.modules.update(others)


def test_every_group_has_rows(bench):
    for group in bench("bench").GROUPS:
        assert callable(bench(group).rows)


@pytest.mark.parametrize(
    ("targets", "ratio", "target", "verdict"),
    [
        ({}, 0.5, "", ""),
        ({"at_most": 0.5}, 0.5, "<= 0.5", "ok"),
        ({"at_most": 0.4}, 0.5, "<= 0.4", "falls short"),
        ({"at_least": 2}, 2, ">= 2", "ok"),
        ({"at_least": 2.1}, 2, ">= 2.1", "falls short"),
        ({"limit_s": 1.9, "at_least": 2}, 2, "1.9 s, >= 2", "falls short"),
        ({"limit_s": 2.0, "at_most": 1}, 0.5, "2 s, <= 1", "ok"),
    ],
)
def test_a_row_is_the_median_of_quotients(bench, targets, ratio, target, verdict):
    row = bench("harness").row("x", [1000.0, 2000.0, 9000.0], [2000.0, 4000.0, 9000.0], **targets)
    assert (row["ours_ms"], row["reference_ms"], row["ratio"]) == (2000, 4000, ratio)
    assert (row["target"], row["verdict"], row["gain"]) == (target, verdict, "at_least" in targets)


def test_memory_counts_in_units(bench):
    row = bench("harness").memory_row("x", 3 * 2**20, 2 * 2**20, 1.4, "")
    assert (row["ours_mib"], row["ratio"], row["verdict"]) == (3, 1.5, "falls short")


def test_the_slope_of_a_power_is_its_exponent(bench):
    slope = bench("harness").slope
    assert slope([1, 2, 4, 8], [5 * n**1.5 for n in (1, 2, 4, 8)]) == pytest.approx(1.5)
    assert slope([10, 100], [3, 3]) == pytest.approx(0)


@pytest.mark.parametrize(("exponent", "verdict"), [(1.0, "ok"), (1.29, "ok"), (1.31, "falls short")])
def test_growth_beyond_the_arithmetic_falls_short(bench, exponent, verdict):
    sizes = (10, 20, 40)
    times = [bench("harness").Times([1.0, size**exponent, 1e9]) for size in sizes]
    times[-1].rise = 2**20
    row = bench("harness").growth_row("x", "rows", sizes, times, list(sizes))
    assert row["exponent"] == pytest.approx(exponent) and row["predicted"] == pytest.approx(1)
    assert (row["verdict"], row["peak_mib"]) == (verdict, 1)


@pytest.mark.parametrize(
    ("cores", "seconds", "targets", "verdicts"),
    [
        (2, (8, 5, 5.7), [">= 1.6", "<= 1.15"], ["ok", "ok"]),
        (2, (8, 5.1, 5.9), [">= 1.6", "<= 1.15"], ["falls short", "falls short"]),
        (4, (8, 4, 2.4), [">= 1.6", "<= 0.575"], ["ok", "falls short"]),
        (1, (8, 8, 9), [">= 0.8", "<= 1.15"], ["ok", "ok"]),
    ],
)
def test_processes_beyond_the_cores_need_not_help(bench, monkeypatch, cores, seconds, targets, verdicts):
    growth, spent, swept = bench("growth"), dict(zip((1, 2, 4), seconds, strict=True)), []

    def sweeps(jobs, profile, work):
        swept.extend(work)
        return growth.Sweeps(9e3, [1e3 * spent[jobs]] * 3, [])

    monkeypatch.setattr(growth, "sweeps", sweeps)
    rows = list(growth.processes(cores))
    assert ([row["target"] for row in rows], [row["verdict"] for row in rows]) == (targets, verdicts)
    assert f"ideally {min(4, cores)};" in rows[1]["note"]
    cells = [task.cell for task in swept]
    assert len(cells) == 24 and {cell.init_seed for cell in cells} == set(range(8))
    assert len({(cell.method, cell.n, cell.epochs) for cell in cells}) == 1  # equal work


def test_growth_starts_at_the_size_of_quick(bench, monkeypatch):
    growth = bench("growth")
    operation = growth.Growing("rows", 5, lambda size: lambda: None, growth.linear)
    monkeypatch.setattr(growth, "OPERATIONS", {"x": operation})
    monkeypatch.setattr(growth, "processes", lambda: iter(()))
    monkeypatch.setattr(growth, "alternate", lambda *runs, repetitions: [bench("harness").Times([1.0]) for _ in runs])
    (row,) = growth.rows()
    assert row["sizes"] == [5, 10, 20]


def test_memory_is_what_a_run_holds_at_its_peak(bench):
    harness = bench("harness")
    if harness.memory("VmRSS") is None:
        pytest.skip("nobody counts resident memory here")

    def run() -> float:
        bytearray(2**26)
        return 0.25

    (times,) = harness.alternate(run, repetitions=3)
    assert times == [250.0] * 3 and times.rise == pytest.approx(2**26, rel=0.05)


def test_the_budgets_of_quick_are_those_of_its_profile(bench):
    text = (CATALOGUE.profiles / "quick.toml").read_text(encoding="utf-8")
    budgets = bench("quick").budgets()
    assert set(budgets) == {name.split("/")[0] for name in CATALOGUE.tables}
    assert sum(budgets.values()) == int(re.search(r"they add up to (\d+)", text)[1])


@pytest.mark.parametrize(("spent", "verdict"), [(5, "ok"), (5.1, "falls short"), (0, "not measured")])
def test_seconds_on_the_clock_have_a_limit(bench, spent, verdict):
    row = bench("quick").timed("x", spent, 5, "")
    assert (row["target"], row["verdict"], row.get("ours_ms")) == ("5 s", verdict, 1e3 * spent or None)


STORED = [RESULTS / "bench.json", RESULTS / "peers" / "speed.json"]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_what_is_stored_has_the_form_of_the_page(path):
    content = performance.load(path)
    rows = content["rows"]
    names = [row["operation"] for row in rows]
    assert len(set(names)) == len(names)
    for row in rows:
        assert {"operation", "target", "verdict", "note"} <= row.keys()
        assert row["verdict"] in ({"ok", "falls short", "not measured"} if row["target"] else {"", "not measured"})
    assert {"commit", "date", "device", "packages", "seconds"} <= content["provenance"].keys()
    assert not re.search(r'[ "]/[a-z]+/', path.read_text(encoding="utf-8"))  # a path of the machine


@pytest.mark.parametrize("path", [*STORED, *sorted(RESULTS.rglob("*.json"))], ids=lambda path: path.name)
def test_what_is_stored_was_computed_by_committed_code(path):
    assert "+changes" not in path.read_text(encoding="utf-8")


def test_the_stored_run_is_whole(bench):
    groups = {row["group"] for row in json.loads(STORED[0].read_text(encoding="utf-8"))["rows"]}
    assert groups == set(bench("bench").GROUPS)


ROWS = [
    {"group": "a", "operation": "x", "ours_ms": 2.0, "reference_ms": 2400.0, "ratio": 1200.0, "gain": True,
     "target": "0.001 s, >= 100", "verdict": "falls short", "note": "a reason", "ours_rise_mib": 0.25,
     "reference_rise_mib": 1200.4},
    {"group": "a", "operation": "y", "ours_mib": 3.0, "reference_mib": 2.0, "ratio": 1.5, "target": "<= 2",
     "verdict": "ok", "note": ""},
    {"group": "a", "operation": "z", "target": "<= 2", "verdict": "not measured", "note": ""},
    {"group": "b", "operation": "g", "variable": "rows", "sizes": [1000, 2000], "times_ms": [1.0, 2.0],
     "exponent": 1.0, "predicted": 1.0, "peak_mib": None, "target": "<= 1.3", "verdict": "ok", "note": ""},
    {"group": "b", "operation": "l", "ours_ms": 4.0, "reference_ms": 2.0, "ratio": 2.0, "gain": False, "target": "",
     "verdict": "", "note": "", "flops": 2e9, "bytes": 1e6, "limit_ms": 1.0, "limit_by": "arithmetic",
     "fraction": 0.25, "profile": "mm 9 %"},
    {"group": "c", "operation": "q", "ours_ms": 1.525e6, "target": "1 min", "verdict": "falls short", "note": ""},
    {"operation": "p", "ours_ms": 4.0, "reference_ms": 1.0, "ratio": 0.25, "gain": True, "target": "",
     "verdict": "", "note": "why"},
]  # fmt: skip


def test_what_the_page_says_of_rows():
    facts = {"date": "2026-01-01", "commit": "abc", "device": "cpu", "system": "S", "packages": {"torch": "2"}}
    text = performance.summary({"rows": ROWS, "provenance": facts})
    assert "Of 7 rows 5 have a target: 2 ok, 2 falls short, 1 not measured." in text
    assert performance.shortfalls(ROWS).split("\n") == [
        "- **x**: 1,200 times as fast, 2\xa0ms against 2.4\xa0s, target 0.001 s, ≥ 100. A reason.",
        "- **l**: 25 % of what its arithmetic allows. What takes the time: mm 9 %.",
        "- **q**: 1,525\xa0s, target 1 min.",
        "- **p**: 4 times as long. Why.",
    ]
    assert performance.shortfalls(ROWS[1:4]) == "No row falls short of its target."
    assert [row["operation"] for row in performance.of_group(ROWS, "a")] == ["x", "z"]
    table = performance.compared(ROWS[:3])
    assert table["ours against the reference"].tolist() == ["1,200 times as fast", "1.5 times as much", "–"]
    assert table["ours"].tolist() == ["2\xa0ms, under 1\xa0MiB", "3\xa0MiB", "–"]
    assert table["reference"].tolist() == ["2.4\xa0s, 1,200\xa0MiB", "2\xa0MiB", "–"]
    (limit,) = performance.limits(ROWS).to_dict("records")
    assert limit["share of the limit"] == "25 %" and limit["GFLOP"] == "2.00" and limit["at least"] == "1\xa0ms"
    (grown,) = performance.growth(ROWS).to_dict("records")
    assert grown["size"] == "rows, 1,000 to 2,000" and grown["memory at the end"] == "–"
    assert len(performance.figure(ROWS).axes) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"rows": []}', '{"rows": [{}], "provenance": {}}', '{"rows": 1}'])
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="what make bench wrote"):
        performance.load(path)
