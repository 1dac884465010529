"""Small tables of a run: what the book stores, and that what it has stored can be read and is small."""

from pathlib import Path

import pandas as pd
import pytest

from infocap.experiments import kept
from infocap.experiments.catalogue import work
from infocap.experiments.profiles import load_profile
from infocap.study.store import Record, Store
from infocap.study.tables import Table, read

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
