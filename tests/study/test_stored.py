"""Stored rows count where the store has nothing, are found by their fields, and never stand for another cell."""

import json

import numpy as np
import pandas as pd
import pytest

from infocap.study import stored
from infocap.study.catalogue import Catalogue
from infocap.study.profiles import Panel, Profile
from infocap.study.store import Store
from infocap.study.sweep import collect, sweep, tasks
from infocap.study.tables import NotRun, read


@pytest.fixture
def toy(package, tmp_path):
    """A computed table of three cells, its profile, and a folder for what is kept of it."""
    module, store = package.load(), Store(tmp_path / "store")
    profile = Profile("evidence", "cpu", False, {"toy": {"main": Panel(tuple(module.Cell(x) for x in (3, 1, 2)))}})
    work = tasks("toy", profile)
    sweep(work, {"toy": module.measure}, store, jobs=1, progress=False)
    return module, profile, work, store, tmp_path / "results"


def keep(toy, chosen=slice(None), **options):
    _, profile, work, store, folder = toy
    found = [(task, store.get(task.key)) for task in work][chosen]
    return stored.save(stored.export("toy", profile.name, work, found, folder, **options))


def work_of(toy, **changes):
    module, profile, _, _, folder = toy
    return tasks("toy", profile, stored=stored.load(folder, "toy", module.Cell))


def test_a_table_of_stored_rows_is_the_table_that_was_computed(toy, tmp_path):
    module, profile, work, store, folder = toy
    files = keep(toy)
    assert [file.name for file in files] == ["toy.json", "toy.npz"]
    again = work_of(toy)
    empty = Store(tmp_path / "empty")
    table, before = collect("toy", profile, again, empty), collect("toy", profile, work, store)
    pd.testing.assert_frame_equal(table.frame, before.frame)
    assert table.panel("main")["x"].tolist() == [3, 1, 2]
    for mine, theirs in zip(table.arrays, before.arrays, strict=True):
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[name], theirs[name]) and mine[name].dtype == theirs[name].dtype for name in mine)
    assert (table.provenance["stored"], table.provenance["older"], before.provenance["stored"]) == (3, 0, 0)
    assert table.provenance["seconds"] == before.provenance["seconds"]


def test_stored_rows_count_as_done_for_a_sweep(toy, tmp_path):
    keep(toy, slice(2))
    measured = []
    progress = sweep(
        work_of(toy), {"toy": lambda cell: measured.append(cell.x) or {}}, Store(tmp_path / "empty"), jobs=1
    )
    assert (progress.reused, progress.computed, measured) == (2, 1, [2])


def test_the_store_comes_before_what_is_kept(toy):
    module, profile, _, store, folder = toy
    keep(toy)
    path = folder / "toy.json"
    content = json.loads(path.read_text())
    for row in content["rows"]:
        row["y"] = -1.0
    path.write_text(json.dumps(content))
    assert collect("toy", profile, work_of(toy), store).frame["y"].min() > 0


def test_after_a_change_of_code_rows_are_older(toy, package, tmp_path):
    keep(toy)
    package.replace("helper", "2 * x", "x + x")
    module = package.load()
    profile = Profile("evidence", "cpu", False, {"toy": {"main": Panel(tuple(module.Cell(x) for x in (3, 1, 2)))}})
    work = tasks("toy", profile, stored=stored.load(toy[4], "toy", module.Cell))
    table = collect("toy", profile, work, Store(tmp_path / "empty"))
    assert len(table.frame) == table.provenance["stored"] == table.provenance["older"] == 3


def test_a_cell_of_other_fields_has_no_stored_row(toy):
    keep(toy)
    module, *_, folder = toy
    found = stored.load(folder, "toy", module.Cell)
    assert found(module.Cell(3)).result["y"] == 6 and found(module.Cell(3, 1)) is None and found(module.Cell(4)) is None
    assert stored.load(folder / "nowhere", "toy", module.Cell)(module.Cell(3)) is None


def test_parts_are_added_and_a_cell_that_was_run_again_counts_once(toy):
    keep(toy, slice(2))
    keep(toy, slice(1, 3))
    table = read(toy[4] / "toy.json")
    assert sorted(table.frame["x"]) == [1, 2, 3] and table.provenance["finished"] == 3
    arrays = stored.read_arrays(toy[4] / "toy.json")
    assert [arrays[row]["squares"].tolist() for row in range(3)] == [
        (np.arange(x) ** 2).tolist() for x in table.frame["x"]
    ]
    before = [path.read_bytes() for path in sorted(toy[4].iterdir())]
    keep(toy, slice(1, 3))
    assert [path.read_bytes() for path in sorted(toy[4].iterdir())] == before


def test_reduced_rows_are_kept_and_never_taken_for_results(toy):
    keep(toy, reduce=lambda table: table.frame[["x", "seed"]].assign(double=2 * table.frame["x"]))
    module, profile, *_, folder = toy
    frame = read(folder / "toy.json").frame
    assert frame["double"].tolist() == [6, 2, 4] and frame["reduced"].all() and not (folder / "toy.npz").exists()
    assert stored.load(folder, "toy", module.Cell)(module.Cell(3)) is None


def test_another_profiles_file_is_refused(toy):
    keep(toy)
    module, profile, work, store, folder = toy
    found = [(work[0], store.get(work[0].key))]
    with pytest.raises(ValueError, match="toy.json: accepted: rows of toy in full with their stamps, or no file"):
        stored.export("toy", "full", work, found, folder)


def test_nan_is_nan_again(toy, tmp_path):
    module, profile, work, store, folder = toy
    keep(toy)
    curve = collect("toy", profile, work_of(toy), Store(tmp_path / "empty")).frame["curve"].iloc[0]
    assert curve["loss"][0] == 1.0 and np.isnan(curve["loss"][1])


def test_a_catalogue_reads_the_folder_of_the_profile(toy, package, profiles, tmp_path):
    module = toy[0]
    keep(toy)
    folder = profiles("toy")
    (folder / "evidence.toml").write_text("computes = false\n[toy.main]\nxs = [1, 2, 4]\nseeds = [0]\n")
    (tmp_path / "kept").mkdir()
    toy[4].rename(tmp_path / "kept" / "evidence")
    catalogue = Catalogue({"toy": module}, [], folder, results=tmp_path / "kept")
    evidence, quick = (catalogue.load_profile(name) for name in ("evidence", "quick"))
    table = catalogue.collect("toy", evidence, Store(tmp_path / "empty"))
    assert table.frame["x"].tolist() == [1, 2]
    with pytest.raises(NotRun, match="panel main: 2 of 3 cells were run"):
        table.panel("main")
    assert catalogue.collect("toy", quick, Store(tmp_path / "empty")).frame.empty  # quick is always computed
