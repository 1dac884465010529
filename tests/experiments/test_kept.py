"""Small tables of a run: what the book stores, and that what it has stored can be read and is small."""

import json
from pathlib import Path

import pandas as pd
import pytest

from infocap.experiments import kept
from infocap.experiments.catalogue import work
from infocap.experiments.profiles import load_profile
from infocap.study.cells import fields as cell_fields
from infocap.study.store import Record, Store
from infocap.study.tables import Table, read, write

STORED = sorted((Path(__file__).parents[2] / "book" / "results" / "full").glob("*_*.json"))


def test_what_is_finished_is_written_and_nothing_computed(tmp_path):
    profile, store = load_profile("smoke"), Store(tmp_path / "store")
    task = work("distillation/flips", profile)[0]
    result = {"rates": [0.0, 0.5], "adjusted": [1.0, float("nan")]}
    store.put(task.key, Record(task.table, {"panel": "small"}, result, {"device": "cpu", "seconds": 1.0}, {}))
    files = kept.keep(profile, store, tmp_path / "kept")
    assert [file.name for file in files] == ["scorecard.json", "distillation_flips.json"]
    [row] = read(files[1]).frame.to_dict("records")
    assert row == {"panel": "small", "rates": [0.0, 0.5], "adjusted": [1.0, None]}
    assert len(list(store)) == 1


def record(task, adjusted, seconds, commit):
    result, stamp = {"adjusted": adjusted}, {"device": "cpu", "commit": commit, "seconds": seconds}
    return Record(task.table, cell_fields(task.cell), result, stamp, {})


def test_what_another_run_has_stored_stays(tmp_path):
    """Two runs of parts, in stores of their own; a cell that both have counts once, with the later result."""
    profile, folder = load_profile("quick"), tmp_path / "kept"
    tasks = work("distillation/flips", profile)[:3]
    for run, chosen in (("first", tasks[:2]), ("second", tasks[1:])):
        store = Store(tmp_path / run)
        for task in chosen:
            store.put(task.key, record(task, [float(len(run))], 2.0, run))
        kept.keep(profile, store, folder)
    table = read(folder / "distillation_flips.json")
    assert table.frame["seed"].tolist() == [task.cell.seed for task in tasks]
    assert table.frame["adjusted"].tolist() == [[5.0], [6.0], [6.0]]
    facts = table.provenance
    assert (facts["finished"], facts["seconds"], facts["commit"]) == (3, 8.0, ["first", "second"])
    assert facts["cells"] == len(work("distillation/flips", profile)) and facts["device"] == "cpu"


def test_another_file_in_its_place_is_refused(tmp_path):
    profile, store = load_profile("smoke"), Store(tmp_path / "store")
    task = work("distillation/flips", profile)[0]
    store.put(task.key, record(task, [1.0], 1.0, "now"))
    write(Table("distillation/flips", "smoke", pd.DataFrame({"n": [3]})), tmp_path / "distillation_flips.json")
    with pytest.raises(ValueError, match="distillation_flips.json: its rows lack batch_size; accepted: what this"):
        kept.keep(profile, store, tmp_path)


def test_a_verdict_stays_until_another_run_can_give_it(tmp_path):
    profile, folder = load_profile("smoke"), tmp_path / "kept"
    kept.keep(profile, Store(tmp_path / "none"), folder)
    path = folder / "scorecard.json"
    rows = json.loads(path.read_text())
    assert {row["verdict"] for row in rows} == {"not run in this profile"}
    path.write_text(json.dumps([rows[0] | {"verdict": "reproduced", "commit": "earlier"}]))
    kept.keep(profile, Store(tmp_path / "none"), folder)
    again = json.loads(path.read_text())
    assert len(again) == len(rows) and again[0]["commit"] == "earlier" and again[1:] == rows[1:]


def test_lists_are_dropped_but_for_what_names_a_task():
    frame = pd.DataFrame({"classes": [(2, 4)], "auc": [0.5], "coordinates": [[1, 2]], "data": ["mnist"]})
    small = kept.KEPT["sample_information/detection"](Table("a/b", "smoke", frame))
    assert list(small) == ["classes", "auc", "data"]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_tables_are_small_and_say_where_they_come_from(path):
    stored = read(path)
    assert path.stat().st_size < 250e3 and path.stem == stored.name.replace("/", "_")
    assert stored.name in kept.KEPT and stored.profile == "full" and len(stored.frame)
    assert {"device", "commit", "packages", "seconds", "finished", "cells"} <= set(stored.provenance)
