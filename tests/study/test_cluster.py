"""The files that `how-to-run` shows for clusters do what the page says, as far as no cluster is needed to see it."""

import json
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from infocap.study.cli import make_app

BOOK = Path(__file__).resolve().parents[2] / "book"
CLUSTER = BOOK / "cluster"


def test_the_page_shows_each_file():
    shown = re.findall(r"\{literalinclude\} cluster/(\S+)", (BOOK / "how-to-run.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(path.name for path in CLUSTER.iterdir())


def test_the_tasks_of_the_array_cover_the_sweep(tmp_path):
    """bash runs the script as SLURM would, with a stand-in that writes down its arguments."""
    script = CLUSTER / "slurm_array.sh"
    subprocess.run(["bash", "-n", script], check=True)
    first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", script.read_text(), re.MULTILINE).groups())
    assert first == 0 and last > 0
    stand_in = tmp_path / ".venv" / "bin" / "python"
    stand_in.parent.mkdir(parents=True)
    stand_in.write_text('#!/usr/bin/env bash\necho "$@"\n')
    stand_in.chmod(0o755)
    seen = []
    for task in (first, last):
        values = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_COUNT": last + 1, "SLURM_CPUS_PER_TASK": 1}
        environment = os.environ | {name: str(value) for name, value in values.items()}
        command = ["bash", script, "--device", "cuda"]
        outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        seen.append(outcome.stdout.strip())
    start = "-m infocap sweep --profile full --store store --jobs 1 --shard"
    accepted = CliRunner().invoke(make_app(None), ["sweep", "--help"], env={"COLUMNS": "200"})
    assert all(word in accepted.stdout for word in f"{start} --device".split() if word.startswith("--"))
    assert seen == [f"{start} 0/{last + 1} --device cuda", f"{start} {last}/{last + 1} --device cuda"]


def test_a_slurm_job_starts_one_worker_of_this_environment(monkeypatch):
    import dask
    from dask_jobqueue import SLURMCluster

    commands = []

    def scale(cluster, n=0, jobs=0):  # closing scales too, to 0
        return jobs and commands.append((jobs, cluster.job_script()))

    monkeypatch.setattr(SLURMCluster, "scale", scale)
    monkeypatch.setattr(
        subprocess, "run", lambda command: commands.append(command) or subprocess.CompletedProcess([], 3)
    )
    monkeypatch.setattr(sys, "argv", ["slurm_dask.py", "--profile", "full"])
    # another cluster on this machine may have the dashboard's usual port
    options = {"jobqueue.slurm.scheduler-options": {"dashboard_address": ":0"}}
    with dask.config.set(options), pytest.raises(SystemExit) as caught:
        runpy.run_path(str(CLUSTER / "slurm_dask.py"), run_name="__main__")
    assert caught.value.code == 3  # the sweep's own
    (workers, script), sweep = commands
    assert workers > 1 and "#SBATCH -n 1\n" in script and "#SBATCH --cpus-per-task=1\n" in script
    assert "#SBATCH --mem=8G\n" in script and "#SBATCH -t 12:00:00\n" in script
    address = re.search(rf"^{re.escape(sys.executable)} -m \S*dask\S* (?:worker )?(tcp://\S+)", script, re.MULTILINE)
    assert "--nthreads 1" in script and sweep[-4:] == ["--scheduler", address.group(1), "--profile", "full"]
    assert sweep[:-4] == [sys.executable, "-m", "infocap", "sweep"]


def test_the_kubernetes_cluster_is_whole():
    content = yaml.safe_load((CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8"))
    assert (content["apiVersion"], content["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    name, spec = content["metadata"]["name"], content["spec"]
    (worker,), (scheduler,) = (spec[role]["spec"]["containers"] for role in ("worker", "scheduler"))
    assert (worker["name"], scheduler["name"]) == ("worker", "scheduler") and worker["image"] == scheduler["image"]
    assert f"-t {worker['image']} " in (CLUSTER / "Dockerfile").read_text()
    assert worker["args"][:2] == ["dask", "worker"] and scheduler["args"] == ["dask", "scheduler"]
    assert all(isinstance(word, str) for word in worker["args"])
    options = subprocess.run([sys.executable, "-m", "dask", "worker", "--help"], capture_output=True, text=True).stdout
    assert all(word in options for word in worker["args"] if word.startswith("--"))
    service = spec["scheduler"]["service"]
    assert service["selector"] == {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    assert {port["targetPort"] for port in service["ports"]} == {port["name"] for port in scheduler["ports"]}
    assert spec["worker"]["replicas"] > 1
    image = (CLUSTER / "Dockerfile").read_text()
    lock, project = re.search(r"-r /infocap/lib/(\S+)", image).group(1), re.search(r"-e /infocap/(\S+)", image).group(1)
    assert {"dask", "distributed"} <= set(
        re.findall(r"^([\w-]+)==", (BOOK.parent / "lib" / lock).read_text(), re.MULTILINE)
    )
    assert (BOOK.parent / project / "pyproject.toml").is_file()
    page = (BOOK / "how-to-run.md").read_text(encoding="utf-8")
    assert f"service/{name}-scheduler 8786" in page


def test_the_plan_for_a_million_cells_multiplies_what_was_measured():
    """Its numbers follow the stored rows of make bench: one that is stored anew wants its own there."""
    page = " ".join((BOOK / "how-to-run.md").read_text(encoding="utf-8").split())
    stored = json.loads((BOOK / "results" / "bench.json").read_text(encoding="utf-8"))["rows"]
    rows = [row for row in stored if row["group"] == "study"]
    table = re.findall(r" \| ([\d.,]+) s \| ([\d.,]+) s \|", page)
    cells = [10_000 if "a tiny cell" in row["operation"] else 1 for row in rows]
    assert table == [digits(row["ours_ms"] * count / 1e3) for row, count in zip(rows, cells, strict=True)]
    costs = [row["ours_ms"] for row, count in zip(rows, cells, strict=True) if count > 1]
    slow, fast = 1e3 / max(costs), 1e3 / min(costs)
    (tasks,), (size, block) = (
        re.search(pattern, " ".join(row["note"] for row in rows)).groups()
        for pattern in (r"dask alone: (\d+) tasks", r"a record has (\d+) bytes and takes (\d+)")
    )
    blocks = f"{int(block):,}"
    for words in (
        f"By the first three rows, {min(costs):.1f} to {max(costs):.1f} ms each,",
        f"it takes in {slow:,.0f} to {fast:,.0f} a second,",
        f"a million in {1e6 / fast / 3600:.1f} to {1e6 / slow / 3600:.1f} hours",
        f"less than 100 / {slow:.0f} ≈ {100 / slow:.1f} s",
        f"Dask alone handed out and took back {tasks} empty tasks",
        f"had {size} bytes and took a block of {blocks}: 1,000,000 × {blocks} bytes = {int(block) / 1e3:.1f} GB",
    ):
        assert words in page


def digits(seconds: float) -> tuple[str, str]:
    """Three digits, and a hundred times as much as they say."""
    places = max(0, 2 - math.floor(math.log10(seconds)))
    return f"{seconds:,.{places}f}", f"{100 * round(seconds, places):,.{max(0, places - 2)}f}"
