"""Small tables of a run: what the book stores, and that what it has stored can be read and is small."""

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from infocap.experiments import kept
from infocap.experiments.catalogue import CATALOGUE
from infocap.study.cells import fields as cell_fields
from infocap.study.keep import keep as keep_of
from infocap.study.store import Record, Store
from infocap.study.sweep import sweep
from infocap.study.tables import Table, read

keep = partial(keep_of, CATALOGUE)
STORED = sorted((Path(__file__).parents[2] / "book" / "results" / "full").glob("*_*.json"))


def test_what_is_finished_is_written_and_nothing_computed(tmp_path):
    profile, store = CATALOGUE.load_profile("smoke"), Store(tmp_path / "store")
    task = CATALOGUE.work("distillation/flips", profile)[0]
    result = {"rates": [0.0, 0.5], "adjusted": [1.0, float("nan")]}
    store.put(task.key, Record(task.table, {"panel": "small"}, result, {"device": "cpu", "seconds": 1.0}, {}))
    files = keep(profile, store, tmp_path / "kept")
    assert [file.name for file in files] == ["distillation_flips.json", "scorecard.json"]
    [row] = read(files[0]).frame.to_dict("records")
    assert row.items() >= {"panel": "small", "rates": [0.0, 0.5], "adjusted": [1.0, None]}.items()
    assert [row[name] for name in ("commit", "device", "seconds")] == [None, "cpu", 1.0]
    assert len(list(store)) == 1


def record(task, adjusted, seconds, commit):
    result, stamp = {"adjusted": adjusted}, {"device": "cpu", "commit": commit, "seconds": seconds}
    return Record(task.table, cell_fields(task.cell), result, stamp, {})


def test_what_another_run_has_stored_stays(tmp_path):
    """Two runs of parts, in stores of their own; a cell that both have counts once, with the later result."""
    profile, folder = CATALOGUE.load_profile("evidence"), tmp_path / "kept"
    tasks = CATALOGUE.work("distillation/flips", profile)[:3]
    for run, chosen in (("first", tasks[:2]), ("second", tasks[1:])):
        store = Store(tmp_path / run)
        for task in chosen:
            store.put(task.key, record(task, [float(len(run))], 2.0, run))
        keep(profile, store, folder)
    table = read(folder / "distillation_flips.json")
    assert table.frame["seed"].tolist() == [task.cell.seed for task in tasks]
    assert table.frame["adjusted"].tolist() == [[5.0], [6.0], [6.0]]
    facts = table.provenance
    assert (facts["finished"], facts["seconds"], facts["commit"]) == (3, 6.0, ["first", "second"])
    assert facts["cells"] == len(CATALOGUE.work("distillation/flips", profile)) and facts["device"] == "cpu"
    contents = [file.read_bytes() for file in keep(profile, store, folder)]
    assert [file.read_bytes() for file in keep(profile, store, folder)] == contents
    store = Store(tmp_path / "third")
    store.put(tasks[0].key, record(tasks[0], [0.0], 1.0, "third"))
    keep(profile, store, folder)
    facts = read(folder / "distillation_flips.json").provenance
    assert (facts["finished"], facts["seconds"], facts["commit"]) == (3, 5.0, ["second", "third"])


@pytest.mark.parametrize("name", ["distillation_flips.json", "scorecard.json"])
@pytest.mark.parametrize("content", ["", "3", '[{"claim": "a"}]', '{"claim": 1}'])
def test_another_file_in_its_place_is_refused_before_any_is_written(name, content, tmp_path):
    profile, store, folder = CATALOGUE.load_profile("smoke"), Store(tmp_path / "store"), tmp_path / "kept"
    task = CATALOGUE.work("distillation/flips", profile)[0]
    store.put(task.key, record(task, [1.0], 1.0, "now"))
    folder.mkdir()
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}: .*accepted: "):
        keep(profile, store, folder)
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [(name, content)]


def test_runs_of_two_profiles_are_not_mixed(tmp_path):
    for name in ("smoke", "quick"):
        profile, store = CATALOGUE.load_profile(name), Store(tmp_path / name)
        task = CATALOGUE.work("distillation/flips", profile)[0]
        store.put(task.key, record(task, [1.0], 1.0, "now"))
    keep(CATALOGUE.load_profile("smoke"), Store(tmp_path / "smoke"), tmp_path)
    with pytest.raises(ValueError, match="distillation_flips.json: accepted: rows of distillation/flips in quick with"):
        keep(profile, store, tmp_path)


def test_a_verdict_stays_until_another_run_can_give_it(tmp_path):
    profile, folder = CATALOGUE.load_profile("smoke"), tmp_path / "kept"
    keep(profile, Store(tmp_path / "none"), folder)
    path = folder / "scorecard.json"
    rows = json.loads(path.read_text())
    assert rows == []  # nothing was run
    earlier = [{"claim": claim.name, "profile": "smoke", "verdict": "partly"} for claim in CATALOGUE.claims[1:3]]
    path.write_text(json.dumps(earlier))
    keep(profile, Store(tmp_path / "none"), folder)
    assert json.loads(path.read_text()) == earlier
    store = Store(tmp_path / "store")
    for name in ("noisy_labels/toys", "sample_information/toys"):
        sweep(CATALOGUE.work(name, profile), {name: CATALOGUE.tables[name].measure}, store, jobs=1, progress=False)
    keep(profile, store, folder)
    again = {row["claim"]: row["verdict"] for row in json.loads(path.read_text())}
    assert set(again) >= {row["claim"] for row in earlier} and len(again) > 2
    assert again[CATALOGUE.claims[1].name] != "partly"


def test_lists_are_dropped_but_for_what_names_a_task():
    frame = pd.DataFrame({"classes": [(2, 4)], "auc": [0.5], "coordinates": [[1, 2]], "data": ["mnist"]})
    small = kept.REDUCED["sample_information/detection"](Table("a/b", "smoke", frame))
    assert list(small) == ["classes", "auc", "data"]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_tables_are_small_and_say_where_they_come_from(path):
    stored = read(path)
    assert path.stat().st_size < 250e3 and path.stem == stored.name.replace("/", "_")
    assert stored.name in CATALOGUE.tables and stored.profile == "full" and len(stored.frame)
    assert (stored.name in kept.REDUCED) == ("reduced" in stored.frame)
    facts = stored.provenance
    assert facts["finished"] == len(stored.frame) <= facts["cells"]
    assert facts["seconds"] == pytest.approx(stored.frame["seconds"].sum(), abs=0.1)
    assert {"device", "commit", "lock", "peak_mib"} <= set(facts)
