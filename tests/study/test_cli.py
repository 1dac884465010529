"""Each command at the scale of a toy."""

import errno
import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from infocap.study import cli, doctor, runner
from infocap.study.catalogue import Catalogue
from infocap.study.store import Store


@pytest.fixture
def invoke(catalogue, tmp_path):
    """Runs a command on the toy catalogue and its own store."""

    def call(*words, exit_code=0):
        options = [] if words == ("doctor",) else ["--store", str(tmp_path / "store")]
        outcome = CliRunner().invoke(cli.make_app(catalogue), [*words, *options])
        if outcome.exception and not isinstance(outcome.exception, SystemExit):
            raise outcome.exception
        assert outcome.exit_code == exit_code, outcome.output
        return outcome.output

    return call


def test_sweep_then_claims(invoke):
    assert json.loads(invoke("claims", "--json"))[0]["verdict"] == "not run in this profile"
    assert "reused 0, computed 3" in invoke("sweep", "--profile", "smoke", "--jobs", "1")
    assert "reused 3, computed 3" in invoke("sweep", "--profile", "quick", "--jobs", "1", "--only", "toy")
    (row,) = json.loads(invoke("claims", "--json"))
    assert row["verdict"] == "reproduced" and row["evidence"].startswith("y: 4.167 (95 % interval")
    assert row["estimates"][0]["runs"] == 6 and row["profile"] == "quick" and row["date"] and row["commit"]
    assert "reproduced" in invoke("claims") and "y exceeds one half." in invoke("claims")


def test_settings_and_device_change_the_cells(invoke, tmp_path):
    assert "computed 2" in invoke("sweep", "--profile", "smoke", "--set", "toy.table.main.xs=[5, 6]", "--jobs", "1")
    assert {Store(tmp_path / "store").get(key).fields["x"] for key in Store(tmp_path / "store")} == {5, 6}
    with pytest.raises(ValueError, match="device: got 3; accepted: cpu, cuda"):
        invoke("sweep", "--profile", "smoke", "--set", "device=3")


def test_shards(invoke):
    for index in range(3):
        assert "reused 0, computed 1" in invoke("sweep", "--profile", "smoke", "--jobs", "1", "--shard", f"{index}/3")
    assert "reused 3, computed 0" in invoke("sweep", "--profile", "smoke")


@pytest.mark.parametrize("shard", ["1", "a/b", "1/2/3", "-1/2"])
def test_mistyped_shards_are_refused(invoke, shard):
    output = invoke("sweep", f"--shard={shard}", exit_code=2)
    assert "shard: got" in output and "accepted: i/n" in output


def test_unknown_tables_are_refused(invoke):
    output = invoke("sweep", "--only", "tou", exit_code=2)
    assert "no table" in output and "toy/table" in output


def test_looking_after_the_store(invoke, tmp_path):
    invoke("sweep", "--profile", "quick", "--jobs", "1")
    lines = invoke("store", "list").splitlines()
    assert len(lines) == 6 and all("toy/table" in line and '"seed"' in line for line in lines)
    assert f"6 records, 0 damaged, in {tmp_path / 'store'}" in invoke("store", "verify")
    key = next(iter(Store(tmp_path / "store")))
    Store(tmp_path / "store").path(key).write_bytes(b"torn")
    output = invoke("store", "verify", exit_code=1)
    assert "6 records, 1 damaged" in output and f"{key}.safetensors; it will be computed again" in output
    assert invoke("store", "prune", "--profile", "smoke").startswith("freed 0.0 MB")
    assert len(list(Store(tmp_path / "store"))) == 3
    invoke("sweep", "--profile", "smoke", "--set", "toy.table.main.xs=[9]", "--jobs", "1")
    invoke("store", "prune")
    assert len(list(Store(tmp_path / "store"))) == 3  # a cell of no profile went


def test_prune_keeps_results_whose_data_is_not_at_hand(invoke, catalogue, package, tmp_path):
    package.replace("table", "seed: int = 0", "seed: int = 0\n    data: str = 'folder:disk'")
    catalogue.tables["toy/table"] = package.load()
    at_hand = True

    def checksum(name):
        if not at_hand:
            raise ValueError(f"name: {name} is not there")
        return "abc"

    object.__setattr__(catalogue, "data_checksum", checksum)
    invoke("sweep", "--profile", "smoke", "--jobs", "1")
    at_hand = False
    invoke("store", "prune")
    assert len(list(Store(tmp_path / "store"))) == 3
    assert "skipped 3 (name: folder:disk is not there)" in invoke("sweep", "--profile", "smoke")
    assert json.loads(invoke("claims", "--json"))[0]["verdict"] == "not run in this profile"


def make_book(tmp_path, code, *names):
    book, names = tmp_path / "book", names or ["toy/one"]
    chapters = "".join(f"- file: {name}\n" for name in names)
    parameters = new_code_cell('profile = "quick"\nsettings = []\nstore = None', metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[parameters, new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name in names:
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, book / f"{name}.ipynb")
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: intro\nchapters:\n{chapters}")
    (book / "intro.md").write_text("# Welcome\n")
    return book


def test_run(invoke, tmp_path, monkeypatch):
    book = make_book(tmp_path, "print(profile, settings)")
    monkeypatch.setattr(runner, "render", lambda book, facts: book / "_build" / "html" / "index.html")
    command = ["run", "--book", str(book), "--profile", "smoke", "--jobs", "1", "--set", "toy.table.main.xs=[1]"]
    output = invoke(*command)
    assert "cells: reused 0, computed 1" in output and str(book / "_build" / "html" / "index.html") in output
    content = json.loads((book / "_build" / "tables" / "smoke" / "toy" / "table.json").read_text())
    assert [row["x"] for row in content["rows"]] == [1] and content["provenance"]["finished"] == 1
    staged = (book / "_build" / "stage" / "toy" / "one.ipynb").read_text()
    assert "smoke ['toy.table.main.xs=[1]']" in staged
    assert "toy/one: " in output and "(new)" in output and "chapters: reused 0, computed 1" in output
    first = json.loads((book / "_build" / "html" / "manifest.json").read_text())
    again = invoke(*command)
    assert "cells: reused 1, computed 0" in again and "chapters: reused 1, computed 0" in again
    second = json.loads((book / "_build" / "html" / "manifest.json").read_text())
    check_manifests(first, second)
    page = (book / "_build" / "stage" / "_status.md").read_text()
    assert "Profile `smoke` with `` toy.table.main.xs=[1] ``, device `cpu`" in page and "1 reused, 0 computed" in page
    last = r"20\d\d-\d\d-\d\d \d\d:\d\d UTC, \w+(\+changes)?, `smoke` with `` toy\.table\.main\.xs=\[1\] ``"
    assert re.search(
        rf"\| \[toy / one\]\(/toy/one\.ipynb\) \| reused \| \d+\.\d \| \d+\.\d s, cell \d \| {last} \|", page
    )
    assert re.search(r"\| toy / table \| 1 of 1 \| \d\.\d \| \d\.\d s \| cpu \| \w+(\+changes)? \|", page)


def check_manifests(first, second):
    """A build, and one after it that reuses everything."""
    assert (first["profile"], first["settings"], first["device"]) == ("smoke", ["toy.table.main.xs=[1]"], "cpu")
    assert {"commit", "lock", "python", "system", "packages"} <= set(first) and datetime.fromisoformat(first["built"])
    assert set(first["seconds"]) == {"cells", "chapters", "pages"}
    assert first["cells"] == {"reused": 0, "computed": 1, "skipped": []} and second["cells"]["reused"] == 1
    (seconds,) = first["tables"]["toy/table"]["cell_seconds"]
    assert seconds > 0 and second["tables"] == first["tables"]
    chapter = first["chapters"]["toy/one"]
    assert (chapter["this build"], chapter["why"], chapter["commit"]) == ("executed", "new", first["commit"])
    assert [cell["cell"] for cell in chapter["cells"]] == [1, 2] and all(c["seconds"] >= 0 for c in chapter["cells"])
    assert second["chapters"]["toy/one"] == chapter | {"this build": "reused", "why": ""}


def fake_execution(executed):
    """Stands for ``runner.execute`` where no kernel is needed; notes which chapter got which settings."""

    def execute(book, name, parameters, facts, workers):
        executed[name] = parameters["settings"]
        notebook = nbformat.read(book / f"{name}.ipynb", as_version=4)
        more = {"parameters": parameters, "executed": "2026-01-01T00:00:00+00:00", "seconds": 0.0, "cells": []}
        notebook.metadata["infocap"] = facts | more
        target = book / "_build" / "stage" / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
        return 0.0

    return execute


def test_a_changed_key_recomputes_only_what_depends_on_it(two_parts, monkeypatch, tmp_path):
    book = make_book(tmp_path, "1", "one/chapter", "two/chapter", "summary")
    executed = {}
    monkeypatch.setattr(runner, "execute", fake_execution(executed))
    monkeypatch.setattr(runner, "render", lambda book, facts: book / "_build" / "html" / "index.html")
    monkeypatch.setattr(runner, "preview", lambda book, part, names: seen.append((part, *names)) or book / part)
    seen = []

    def run(*words):
        executed.clear()
        seen.clear()
        options = ["run", "--book", str(book), "--store", str(tmp_path / "store"), "--profile", "smoke", "--jobs", "1"]
        return CliRunner().invoke(cli.make_app(two_parts), [*options, *words], catch_exceptions=False).output

    output = run()
    assert "cells: reused 0, computed 6" in output and list(executed) == ["one/chapter", "two/chapter", "summary"]
    assert seen == [("one", "one/chapter")] and "one can be read" in output  # after the last part comes the whole book
    output = run("--set", "two.table.main.seeds=[0, 1]")
    assert "cells: reused 6, computed 3" in output
    assert seen == []  # nobody waited for part one
    assert executed == {"two/chapter": ["two.table.main.seeds=[0, 1]"], "summary": ["two.table.main.seeds=[0, 1]"]}
    assert "two/chapter: 0.0 s (changed: cells, parameters)" in output and "reused 1, computed 2" in output
    assert "cells: reused 9" in run("--set", "two.table.main.seeds=[0, 1]") and not executed
    assert "cells: reused 6, computed 0" in run() and list(executed) == ["two/chapter", "summary"]
    assert "cells: reused 3, computed 0" in run("--only", "one/chapter") and not executed
    run("--set", "device=cuda")
    assert list(executed) == ["one/chapter", "two/chapter", "summary"]  # a key of no part concerns all


def test_a_part_that_cannot_be_shown_ahead_is_said_and_stops_nothing(two_parts, monkeypatch, tmp_path):
    def preview(book, part, names):
        raise OSError(errno.ENOSPC, "No space left\non device", str(book))

    book = make_book(tmp_path, "1", "one/chapter", "two/chapter")
    monkeypatch.setattr(runner, "execute", fake_execution({}))
    monkeypatch.setattr(runner, "render", lambda book, facts: book / "_build" / "html" / "index.html")
    monkeypatch.setattr(runner, "preview", preview)
    words = ["run", "--book", str(book), "--store", str(tmp_path / "store"), "--profile", "smoke", "--jobs", "1"]
    outcome = CliRunner().invoke(cli.make_app(two_parts), words, catch_exceptions=False)
    (said,) = (line for line in outcome.output.splitlines() if "cannot be read" in line)
    fault = f"OSError: [Errno {errno.ENOSPC}] No space left\\non device: {str(book)!r}"
    assert said == f"one cannot be read before the whole book is there ({fault})"
    assert outcome.exit_code == 0 and outcome.output.splitlines()[-1].endswith("index.html")
    assert "can be read, while" not in outcome.output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("one.table.main.sed=2", "error: set: no key 'one.table.main.sed'; the nearest is 'one.table.main.seeds'"),
        ("one.table.main.seeds=[two]", "error: one.table.main.seeds: got '[two]'; accepted: a list"),
        ("one.table.main.xs=[true]", "error: one.table.main.xs.0: got True; input should be a valid integer"),
        ("one", "error: set: got 'one'; accepted: key=value"),
    ],
)
def test_wrong_settings_are_refused_before_anything_runs(two_parts, monkeypatch, tmp_path, setting, message):
    book = make_book(tmp_path, "1", "one/chapter")
    words = ["run", "--book", str(book), "--store", str(tmp_path / "store"), "--set", setting]
    assert main(two_parts, monkeypatch, *words) == message
    assert not (tmp_path / "store").exists() and not (book / "_build").exists()


TINY = """
from pathlib import Path

from infocap.study import cli
from infocap.study.catalogue import Catalogue

if __name__ == "__main__":
    cli.main(Catalogue({}, [], Path("profiles")))
"""


def test_make_book_fails_with_the_place_and_keeps_the_notebook(tmp_path):
    """From the shell, with the project's Makefile and a command line without experiments."""
    book = make_book(tmp_path, "a = 1\n1 / 0")
    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "profiles").mkdir()
    for profile in ("quick", "full"):
        (tmp_path / "profiles" / f"{profile}.toml").touch()
    makefile = Path(__file__).parents[2] / "Makefile"
    command = ["make", "-f", str(makefile), "-o", "setup", "book", f"INFOCAP={sys.executable} tiny.py", "ONLY=toy/one"]
    command += [f"STORE={tmp_path / 'store'}"]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert outcome.returncode != 0 and "toy/one: failed (new)" in outcome.stdout
    message = "error: book/toy/one.ipynb, cell 2 of 2, line 2, `1 / 0`: ZeroDivisionError: division by zero"
    assert message in outcome.stderr
    kept = nbformat.read(book / "_build" / "failed" / "toy" / "one.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in kept.cells for output in cell.get("outputs", []))
    assert "Traceback" not in outcome.stdout + outcome.stderr and "\r" not in outcome.stderr  # no bar in a log
    assert not (book / "_build" / "html").exists()


def main(catalogue, monkeypatch, *words):
    """The exit code and message of the real entry point."""
    monkeypatch.setattr(sys, "argv", ["infocap", *words])
    with pytest.raises(SystemExit) as caught:
        cli.main(catalogue)
    return caught.value.code


def test_a_chapter_that_raises_is_a_message_and_an_exit_code(catalogue, monkeypatch, tmp_path):
    book = make_book(tmp_path, "a = 1\n1 / 0")
    code = main(catalogue, monkeypatch, "run", "--book", str(book), "--jobs", "1", "--store", str(tmp_path / "store"))
    assert code.startswith(f"error: {book / 'toy' / 'one.ipynb'}, cell 2 of 2, line 2, `1 / 0`: ZeroDivisionError")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "--profile", "quik"], "error: profile: no profile 'quik'; accepted: full, quick, smoke"),
        (
            ["sweep", "--set", "toy.table.main.sed=1"],
            "error: set: no key 'toy.table.main.sed'; the nearest is 'toy.table.main.seeds'",
        ),
        (["sweep", "--shard", "3/3"], "error: shard: got 3/3; accepted: i/n with 0 <= i < n"),
        (
            ["sweep", "--set", "toy.table.main.xs=[13]", "--profile", "smoke", "--jobs", "1"],
            "error: 1 of 1 cells failed",
        ),
        (["run", "--book", "nowhere"], "error: book: got 'nowhere', which has no _toc.yml"),
    ],
)
def test_mistakes_are_messages_not_tracebacks(catalogue, monkeypatch, tmp_path, words, message):
    assert main(catalogue, monkeypatch, *words, "--store", str(tmp_path / "store")).startswith(message)


def test_an_unknown_chapter_is_refused_before_anything_is_computed(catalogue, monkeypatch, tmp_path):
    book = make_book(tmp_path, "1")
    words = ["run", "--book", str(book), "--only", "toy/on", "--store", str(tmp_path / "store")]
    assert "did you mean 'toy/one'?" in main(catalogue, monkeypatch, *words)
    assert not (tmp_path / "store").exists()


def test_doctor(invoke, monkeypatch):
    monkeypatch.setattr(doctor, "_NEEDED", ())
    monkeypatch.setattr(doctor, "_off_the_lock", list)
    assert "all checks passed" in invoke("doctor")
    monkeypatch.setattr(doctor, "_NEEDED", ("no_such_package",))
    output = invoke("doctor", exit_code=1)
    assert output.startswith("no_such_package cannot be imported (ModuleNotFoundError: ") and "fix: make" in output


def test_doctor_recognizes_a_mismatched_pair(monkeypatch):
    def broken(name):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "_NEEDED", ("torchvision",))
    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert doctor.faults()[0].startswith("torch and torchvision are not a matching pair")


def test_doctor_names_versions_that_the_lock_lacks(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "0.0.1+cpu")
    faults = doctor._off_the_lock()
    assert any(line.startswith("torch 0.0.1: the lock has 2.") and "fix: make" in line for line in faults)


def test_doctor_starts_where_torch_does_not(tmp_path):
    """The command line imports torch; a broken one must not stop the command that explains it."""
    (tmp_path / "torch.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    for name in ("torchvision", "papermill", "jupyter_book", "matplotlib", "seaborn", "cleanlab"):
        (tmp_path / f"{name}.py").write_text("")
    start = f"import sys, runpy; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['infocap', 'doctor']"
    command = [sys.executable, "-c", f"{start}; runpy.run_module('infocap', run_name='__main__')"]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 1 and outcome.stderr == ""
    assert outcome.stdout.startswith("torch and torchvision are not a matching pair")


def test_a_scheduler_that_does_not_answer_is_a_message(catalogue, monkeypatch, tmp_path):
    import dask
    import distributed  # noqa: F401, its defaults must be there before one of them is changed

    with dask.config.set({"distributed.comm.timeouts.connect": "0.2s"}):
        words = ["sweep", "--store", str(tmp_path / "store"), "--scheduler", "tcp://127.0.0.1:9"]
        assert "127.0.0.1:9" in main(catalogue, monkeypatch, *words)


def test_a_profile_of_stored_rows_is_shown_as_it_is_stored_and_computes_nothing(
    catalogue, monkeypatch, capsys, tmp_path
):
    book = make_book(tmp_path, "1")
    (catalogue.profiles / "evidence.toml").write_text('extends = "quick"\ncomputes = false\n')
    monkeypatch.setattr(runner, "execute", fake_execution({}))
    monkeypatch.setattr(runner, "render", lambda book, facts: book / "_build" / "html" / "index.html")
    words = ["run", "--profile", "evidence", "--book", str(book), "--store", str(tmp_path / "store")]
    assert main(catalogue, monkeypatch, *words) == 2
    assert (
        "profile: 6 of 6 cells of 'evidence' are not stored yet; accepted: another profile" in capsys.readouterr().err
    )
    sweep = ["sweep", "--profile", "evidence", "--jobs", "1", "--store", str(tmp_path / "store")]
    assert main(catalogue, monkeypatch, *sweep) in (None, 0)
    assert main(catalogue, monkeypatch, *words) in (None, 0)


def test_run_lists_the_cells_of_a_table_once(catalogue, monkeypatch, tmp_path):
    listed, work = [], Catalogue.work
    monkeypatch.setattr(Catalogue, "work", lambda self, name, profile: listed.append(name) or work(self, name, profile))
    monkeypatch.setattr(runner, "execute", fake_execution({}))
    monkeypatch.setattr(runner, "render", lambda book, facts: book / "_build" / "html" / "index.html")
    words = ["run", "--profile", "smoke", "--book", str(make_book(tmp_path, "1")), "--store", str(tmp_path / "store")]
    assert main(catalogue, monkeypatch, *words, "--jobs", "1") in (None, 0)
    assert listed == ["toy/table"]
