"""What the book keeps of a run stands for the run: the same tables, panels and verdicts, and no cell is computed."""

from dataclasses import replace

import numpy as np
import pandas as pd

from infocap.experiments.catalogue import CATALOGUE
from infocap.study.claims import scorecard
from infocap.study.keep import keep
from infocap.study.store import Store
from infocap.study.stored import _number


def test_stored_rows_give_the_tables_and_verdicts_of_their_run(store, tmp_path):
    profile, empty = CATALOGUE.load_profile("smoke"), Store(tmp_path / "empty")
    keep(CATALOGUE, profile, Store(store), tmp_path / "smoke")
    kept = replace(CATALOGUE, results=tmp_path)
    work = [task for name in kept.tables for task in kept.work(name, profile)]
    progress = kept.compute(work, profile, empty)
    assert (progress.reused, progress.computed) == (len(work), 0) and not list(empty)
    computed, shown = (
        {name: catalogue.collect(name, profile, place) for name in catalogue.tables}
        for catalogue, place in ((CATALOGUE, Store(store)), (kept, empty))
    )
    for name, table in computed.items():
        assert table.provenance["stored"] == 0 and shown[name].provenance["stored"] == len(table.frame) > 0
        pd.testing.assert_frame_equal(shown[name].frame, table.frame.map(_number))  # a file has no NaN beside None
        assert shown[name].panels == table.panels
        for ours, theirs in zip(shown[name].arrays, table.arrays, strict=True):
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[key], theirs[key], equal_nan=True) for key in ours if ours[key].size)
    verdicts = [scorecard(CATALOGUE.claims, tables) for tables in (computed, shown)]
    pd.testing.assert_frame_equal(*verdicts)
