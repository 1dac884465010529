"""A sweep computes what is missing, loses nothing, and gives the same bytes wherever it runs."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from typer.testing import CliRunner

from infocap.study import sweep as sweep_module
from infocap.study.cli import make_app
from infocap.study.profiles import Panel, Profile
from infocap.study.store import Store
from infocap.study.sweep import Progress, SweepError, cluster, collect, sweep, tasks
from infocap.study.tables import NotRun

PROFILE = {"xs": [3, 1, 2], "seeds": 2}


def profile_of(module, size):
    """A profile of the table ``toy`` with one panel."""
    cells = tuple(module.Cell(x, seed) for seed in range(size["seeds"]) for x in size["xs"])
    return Profile("smoke", "cpu", True, {"toy": {"main": Panel(cells)}})


def work_of(module, size=PROFILE):
    return tasks("toy", profile_of(module, size))


def table_of(module, store, size=PROFILE):
    return collect("toy", profile_of(module, size), work_of(module, size), store)


def run(module, store, size=PROFILE, measure=None, **options):
    options = {"jobs": 1, "progress": False} | options
    return sweep(work_of(module, size), {"toy": measure or module.measure}, store, **options)


def rows(module, store, size=PROFILE):
    """Every bit of the table: cells, results and arrays."""
    table = table_of(module, store, size)
    arrays = [{name: (str(a.dtype), a.tolist()) for name, a in row.items()} for row in table.arrays]
    return json.dumps([table.frame.to_dict("records"), arrays])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_table_has_the_profiles_order_and_the_cells_results(package, store):
    module = package.load()
    assert run(module, store) == Progress(0, 6)
    table = table_of(module, store, PROFILE)
    assert list(zip(table.frame["seed"], table.frame["x"], strict=True)) == [(s, x) for s in (0, 1) for x in (3, 1, 2)]
    assert table.frame["y"].tolist() == [2 * x + s / 3 for s in (0, 1) for x in (3, 1, 2)]
    assert [row["squares"].tolist() for row in table.arrays[:2]] == [[0, 1, 4], [0]]
    assert (table.provenance["cells"], table.provenance["finished"], table.provenance["threads"]) == (6, 6, 1)


def test_a_second_run_computes_nothing_and_repeated_cells_count_once(package, store):
    module = package.load()
    run(module, store)
    twice = {"xs": [1, 1, 2, 3], "seeds": 2}
    assert str(run(module, store, twice)) == "reused 6, computed 0"


def test_a_changed_field_recomputes_only_its_cells(package, store):
    module, computed = package.load(), []

    def measure(cell):
        computed.append(cell.x)
        return module.measure(cell)

    run(module, store)
    assert run(module, store, {"xs": [1, 2, 4], "seeds": 2}, measure) == Progress(4, 2)
    assert computed == [4, 4]


def test_changed_code_recomputes_and_a_comment_does_not(package, store):
    run(package.load(), store)
    package.replace("helper", "# no more", "# no less")
    assert run(package.load(), store).computed == 0
    package.replace("helper", "2 * x", "3 * x")
    assert run(package.load(), store).computed == 6


def test_shards_merge_to_the_same_table(package, store, tmp_path):
    module, one = package.load(), Store(tmp_path / "one")
    run(module, store)
    copied = tmp_path / "copied"
    for index in range(3):
        own = Store(tmp_path / f"shard {index}")
        assert run(module, own, shard=(index, 3)).computed == 2
        assert run(module, one, shard=(index, 3)).computed == 2
        shutil.copytree(own.root, copied, dirs_exist_ok=True)
    assert rows(module, store) == rows(module, one) == rows(module, Store(copied))


@pytest.mark.parametrize("shard", [(3, 3), (-1, 3), (0, 0)])
def test_impossible_shards_are_refused(package, store, shard):
    with pytest.raises(ValueError, match=f"shard: got {shard[0]}/{shard[1]}; accepted: i/n with 0 <= i < n"):
        run(package.load(), store, shard=shard)


def test_a_result_named_as_a_field_is_refused(package, store):
    package.replace("table", 'return {"y":', 'return {"seed": 1, "y":')
    with pytest.raises(SweepError, match="seed: a result of toy and a field of its cell; accepted: different names"):
        run(package.load(), store, {"xs": [1], "seeds": 1})


def test_a_failing_cell_loses_no_other_and_is_named(package, store):
    module, profile = package.load(), {"xs": [1, 13, 2], "seeds": 2}
    with pytest.raises(SweepError) as caught:
        run(module, store, profile)
    message = str(caught.value)
    assert message.startswith("2 of 6 cells failed; the others are stored\n")
    assert "toy {'x': 13, 'seed': 1}" in message and "ValueError: x: got 13; accepted: luckier numbers" in message
    assert len(list(store)) == 4
    table = table_of(module, store, profile)
    assert table.frame["x"].tolist() == [1, 2, 1, 2] and table.provenance["finished"] == 4


@pytest.mark.parametrize("value", [np.float32(1), np.array(["text"]), {1, 2}], ids=["numpy scalar", "text", "set"])
def test_a_result_that_cannot_be_stored_loses_no_other(package, store, value):
    module = package.load()
    with pytest.raises(SweepError, match="1 of 3 cells failed") as caught:
        run(module, store, {"xs": [1, 2, 3], "seeds": 1}, lambda cell: {"y": value if cell.x == 1 else 0})
    assert "{'x': 1, 'seed': 0}" in str(caught.value) and len(list(store)) == 2


def test_cells_without_data_are_skipped_and_said(package, store):
    package.replace("table", "seed: int = 0", "seed: int = 0\n    data: str = 'box'")
    module = package.load()
    cells = tuple(module.Cell(x, seed, "box" if x < 3 else "folder:gone") for seed in (0, 1) for x in (3, 1, 2))
    profile = Profile("smoke", "cpu", True, {"toy": {"main": Panel(cells)}})

    def checksum(name):
        if name != "box":
            raise ValueError(f"name: no folder {name}")
        return "abc"

    work = tasks("toy", profile, checksum)
    progress = sweep(work, {"toy": module.measure}, store, jobs=1, progress=False)
    assert str(progress) == "reused 0, computed 4, skipped 2 (name: no folder folder:gone)"
    table = collect("toy", profile, work, store)
    assert (table.provenance["cells"], table.provenance["finished"]) == (6, 4)
    with pytest.raises(NotRun, match="panel main: 4 of 6 cells were run"):
        table.panel("main")


def test_tensors_are_stored_as_arrays(package, store):
    module, tensor = package.load(), torch.arange(4.0, requires_grad=True)
    run(module, store, {"xs": [1], "seeds": 1}, lambda cell: {"t": tensor, "zero": torch.tensor(0)})
    arrays = store.get(next(iter(store))).arrays
    assert arrays["t"].tolist() == [0, 1, 2, 3] and arrays["zero"].shape == ()


def test_provenance_is_that_of_the_cells(package, store):
    module = package.load()
    run(module, store, {"xs": [1, 2], "seeds": 1})
    key = next(iter(store))
    record = store.get(key)
    store.put(key, type(record)(**vars(record) | {"provenance": record.provenance | {"commit": "0123456789ab"}}))
    provenance = table_of(module, store, {"xs": [1, 2], "seeds": 1}).provenance
    assert sorted(provenance["commit"]) == sorted({"0123456789ab", record.provenance["commit"]})
    assert provenance["python"] == record.provenance["python"]
    assert provenance["seconds"] == pytest.approx(0.04, abs=0.06)
    assert provenance["peak_mib"] > 100 or not Path("/proc/self/clear_refs").exists()


def test_measuring_leaves_the_callers_threads_alone(package, store):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = []
        run(package.load(), store, measure=lambda cell: seen.append(torch.get_num_threads()) or {})
        assert set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


RESUMED = """
import sys
from PACKAGE import table
from infocap.study.profiles import Panel, Profile
from infocap.study.store import Store
from infocap.study.sweep import sweep, tasks

cells = tuple(table.Cell(x) for x in [*range(12), *range(14, 200)])
work = tasks("toy", Profile("smoke", "cpu", True, {"toy": {"main": Panel(cells)}}))
sweep(work, {"toy": table.measure}, Store(sys.argv[1]), jobs=1, progress=False)
"""


def test_after_a_kill_only_unfinished_cells_run(package, store, tmp_path):
    module = package.load()
    child = subprocess.Popen([sys.executable, "-c", RESUMED.replace("PACKAGE", package.name), str(store.root)])
    while len(list(store)) < 3 and child.poll() is None:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    finished = len(list(store))
    profile = {"xs": [*range(12), *range(14, 200)], "seeds": 1}
    assert 3 <= finished < 198 and store.verify() == []
    short = {"xs": profile["xs"][: finished + 5], "seeds": 1}
    assert run(module, store, short) == Progress(finished, 5)
    run(module, Store(tmp_path / "uninterrupted"), short)
    assert rows(module, store, short) == rows(module, Store(tmp_path / "uninterrupted"), short)


def test_worker_processes_and_a_cluster_give_the_same_table(package, catalogue, store, tmp_path):
    module = package.load()
    catalogue.tables["toy/table"] = module
    run(module, store)
    get_reusable_executor().shutdown(wait=True)  # a pool of an earlier test would not know the package
    pool = Store(tmp_path / "pool")
    assert run(module, pool, jobs=2).computed == 6
    get_reusable_executor().shutdown(wait=True)

    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as local,
        Client(local) as client,
    ):
        client.wait_for_workers(2)
        dask = Store(tmp_path / "dask")
        with joblib.parallel_config(backend="dask"):
            assert run(module, dask, jobs=-1).computed == 6
        line = ["sweep", "--profile", "quick", "--store", str(tmp_path / "line"), "--scheduler"]
        outcome = CliRunner().invoke(make_app(catalogue), [*line, local.scheduler_address])
        assert outcome.exit_code == 0, outcome.output
    assert rows(module, store) == rows(module, pool) == rows(module, dask) == rows(module, Store(tmp_path / "line"))


IN_FLIGHT = """
    if cell.x == 50 and cell.seed == 0:
        (gates / f"started by {os.getpid()}").touch()
        end = time.monotonic() + 120
        while not (gates / "open").exists() and time.monotonic() < end:
            time.sleep(0.01)
"""


class KillsWhenItHoldsThree(Store):
    """Its third record costs a worker its life: the one that computes the cell with x = 50."""

    def __init__(self, root, gates):
        super().__init__(root)
        self.gates, self.held = gates, 0

    def put(self, key, record):
        super().put(key, record)
        self.held += 1
        if self.held == 3:
            while not (started := next(self.gates.glob("started by *"), None)):
                time.sleep(0.01)
            worker = int(started.name.split()[-1])
            assert worker != os.getpid()
            os.kill(worker, signal.SIGKILL)
            (self.gates / "open").touch()


def test_a_cluster_whose_workers_come_late_and_go_in_the_middle_gives_the_same_table(package, store, tmp_path):
    from distributed import LocalCluster

    gates = tmp_path / "gates"
    gates.mkdir()
    head = f"import os\nfrom pathlib import Path\n\nimport numpy as np\n\ngates = Path({str(gates)!r})"
    package.replace("table", "import numpy as np", head)
    package.replace("table", "    time.sleep(0.02)\n", IN_FLIGHT.lstrip("\n"))
    module, profile = package.load(), {"xs": [50, *range(1, 12)], "seeds": 2}
    dask = KillsWhenItHoldsThree(tmp_path / "dask", gates)
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None, silence_logs=50) as local,
        cluster(local.scheduler_address),
    ):
        backend, _ = joblib.parallel.get_active_backend()
        assert backend.effective_n_jobs(-1) >= 1000  # or joblib would wait ten seconds for workers and give up
        local.scale(2)
        assert run(module, dask, profile) == Progress(0, 24)
    assert len(list(gates.glob("started by *"))) == 2  # the cell that was lost started anew elsewhere
    assert dask.held == 24 and dask.verify() == []
    run(module, store, profile)
    assert rows(module, dask, profile) == rows(module, store, profile)


FRESH = """
import random, sys
import numpy as np
import torch
from infocap.experiments.catalogue import CATALOGUE as catalogue
from infocap.study.store import Store
from infocap.study.sweep import collect, sweep
from infocap.study.tables import write

if sys.argv[2] == "scrambled":
    random.seed(5), np.random.seed(6), torch.manual_seed(7), torch.rand(3)
name = "noisy_labels/training"
profile = catalogue.load_profile("smoke")
work = {(t.cell.method, t.cell.dropout > 0): t for t in catalogue.work(name, profile)}  # every method, and dropout
work = list(work.values())
sweep(work, {name: catalogue.tables[name].measure}, Store(sys.argv[1] + "/store"), jobs=1, progress=False)
table = collect(name, profile, work, Store(sys.argv[1] + "/store"))
write(table, sys.argv[1] + "/table.json")
arrays = sorted((n, a.tobytes()) for row in table.arrays for n, a in row.items())
open(sys.argv[1] + "/arrays", "wb").write(repr(arrays).encode())
"""


def test_two_fresh_processes_give_equal_bytes_though_one_scrambled_the_global_generators(tmp_path):
    children = []
    for name in ("plain", "scrambled"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", FRESH, str(tmp_path / name), name]
        environment = os.environ | {"PYTHONHASHSEED": str(random.randrange(1000))}
        children.append(subprocess.Popen(command, env=environment))
    assert [child.wait() for child in children] == [0, 0]
    contents = [json.loads((tmp_path / name / "table.json").read_text()) for name in ("plain", "scrambled")]
    assert len(contents[0]["rows"]) >= 5
    assert json.dumps(contents[0]["rows"]).encode() == json.dumps(contents[1]["rows"]).encode()
    assert (tmp_path / "plain" / "arrays").read_bytes() == (tmp_path / "scrambled" / "arrays").read_bytes()
    stores = [sorted(Store(tmp_path / name / "store")) for name in ("plain", "scrambled")]
    assert stores[0] == stores[1]  # the keys


def test_a_line_a_minute_says_what_remains(monkeypatch, capsys):
    clock = iter([0, 30, 61, 100, 122, 150])
    monkeypatch.setattr(sweep_module.time, "monotonic", lambda: next(clock))
    assert list(sweep_module._said("abcde", 5)) == list("abcde")
    assert capsys.readouterr().out.splitlines() == [
        "cells: 2 of 5 after 1 min, about 2 min remain",
        "cells: 4 of 5 after 2 min, about 1 min remain",
    ]
