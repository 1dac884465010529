"""Kills, two builds at once, a full disk, a read-only folder, hostile files: an honest message, and nothing is lost."""

import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from infocap.study import cli, runner
from infocap.study import store as store_module
from infocap.study.store import DamagedRecordWarning, Record, Store, _checksum
from infocap.study.tables import Table, read, write

# A gate holds its process while it is closed, so that a test kills it at a known place or lets another one catch up.
GATE = '''
import os
import time
from pathlib import Path


def gate(name):
    """Waits while the gate is closed."""
    folder = Path(os.environ["GATES"])
    if (folder / name).exists():
        (folder / "pid.tmp").write_text(str(os.getpid()))
        os.replace(folder / "pid.tmp", folder / f"{name} reached")
    while (folder / name).exists():
        time.sleep(0.02)


def wait(app, page, *rest):
    if page == "toy/two":
        gate("render")


def setup(app):
    app.connect("html-page-context", wait)
    return {"parallel_read_safe": True}
'''
MAIN = """
import tempfile
from pathlib import Path

from infocap.study import cli
from infocap.study.catalogue import Catalogue
from PACKAGE import table

table.time.sleep = lambda seconds: None
if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in ("smoke", "quick", "full"):
            text = f"[toy.table.main]\\nseeds = [0, 1]\\nxs = {[50, *range(20)]}\\n"
            Path(folder, f"{name}.toml").write_text(text)
        cli.main(Catalogue({"toy/table": table}, [], Path(folder)))
"""
CONFIG = """
title: Tiny
only_build_toc_files: true
execute:
  execute_notebooks: "off"
sphinx:
  extra_extensions: [PACKAGE.gate]
"""


@pytest.fixture
def toy(package, tmp_path):
    """A package with a table of 42 cells, the command line around it, and gates to be killed at."""
    package.write("gate", GATE)
    package.replace("table", "import numpy", f"from {package.name}.gate import gate\nimport numpy")
    package.replace("table", "if cell.x == 13:", "if cell.x == 50:\n        gate('cell')\n    if cell.x < 0:")
    package.write("main", MAIN)
    (tmp_path / "gates").mkdir()
    return package


def make_book(folder, name, last="from PACKAGE.gate import gate\ngate('chapter')"):
    (folder / "toy").mkdir(parents=True)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n- file: toy/one\n- file: toy/two\n")
    (folder / "_config.yml").write_text(CONFIG.replace("PACKAGE", name))
    (folder / "intro.md").write_text("# Welcome\n\nHello.\n")
    for chapter, code in {"one": "print(profile)", "two": last.replace("PACKAGE", name)}.items():
        parameters = 'profile = "quick"\nsettings = []\nstore = None'
        cells = [new_markdown_cell(f"# Chapter {chapter}"), new_code_cell(parameters), new_code_cell(code)]
        cells[1].metadata["tags"] = ["parameters"]
        notebook = new_notebook(cells=cells)
        for number, cell in enumerate(cells):
            cell["id"] = f"cell-{number}"
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / "toy" / f"{chapter}.ipynb")
    return folder


@contextlib.contextmanager
def started(toy, folder, store, jobs="1"):
    """A build in a process group of its own, which does not outlive the block."""
    command = [sys.executable, "-m", f"{toy.name}.main", "run", "--profile", "smoke", "--jobs", jobs]
    command += ["--book", str(folder), "--store", str(store)]
    environment = os.environ | {"GATES": str(toy.path.parent / "gates")}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as child:
        try:
            yield child
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def finished(child):
    output = child.stdout.read()
    assert child.wait() == 0, output
    return output


def until(condition, child=None):
    end = time.monotonic() + 90
    while not condition():
        assert child is None or child.poll() is None, child.stdout.read()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextlib.contextmanager
def killed_at(toy, gate, folder, store, jobs="1", also=lambda: True):
    """Runs a build up to a gate, then kill -9; yields the process that had reached the gate."""
    gates = toy.path.parent / "gates"
    (gates / gate).touch()
    with started(toy, folder, store, jobs) as child:
        until(lambda: (gates / f"{gate} reached").exists() and also(), child)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        (gates / gate).unlink()
        yield int((gates / f"{gate} reached").read_text())


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rows(folder):
    """The table's rows, byte for byte. Its provenance has seconds and dates, which differ."""
    content = json.loads((folder / "_build" / "tables" / "smoke" / "toy" / "table.json").read_text())
    assert content["provenance"]["finished"] == content["provenance"]["cells"] == 42
    return json.dumps(content["rows"]).encode()


def site(folder):
    """The bytes of all pages and of the search index, and the names of all other files but the manifest."""
    root = folder / "_build" / "html"
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    del files["manifest.json"]
    return {name: path.read_bytes() if path.suffix == ".html" else b"" for name, path in files.items()} | {
        "searchindex.js": files["searchindex.js"].read_bytes()
    }


def differing(one, other):
    """Names of the files that only one of two sites has, or that differ."""
    return [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


def test_builds_killed_and_builds_at_once_give_the_same_tables_and_site(toy, tmp_path):
    """Builds of three folders: two at once on one store, two at once in one folder, and one that is killed thrice."""
    one, other, hurt = (make_book(tmp_path / name / "book", toy.name) for name in ("one", "other", "hurt"))
    shared, gate = Store(tmp_path / "store"), toy.path.parent / "gates" / "chapter"
    gate.touch()
    with started(toy, one, shared.root) as first, started(toy, other, shared.root) as second:
        until((one / "_build" / "lock").exists, first)
        with started(toy, one, shared.root) as third:
            assert third.stdout.readline() == f"waiting: another run builds {one}\n"
            gate.unlink()
            outputs = [finished(child) for child in (first, second, third)]
    assert ["reused 2, computed 0" in output for output in outputs] == [False, False, True]
    (toy.path.parent / "gates" / "chapter reached").unlink()
    assert shared.verify() == [] and len(list(shared)) == 42
    assert not list(shared.root.rglob("*.tmp"))
    assert rows(one) == rows(other) and not differing(site(one), site(other))

    shared.root.rename(tmp_path / "first store")
    own = Store(tmp_path / "store")  # empty, and of the same name, since pages show it
    with killed_at(toy, "cell", hurt, own.root, jobs="2", also=lambda: len(list(own)) >= 3):
        pass
    kept = len(list(own))
    assert 3 <= kept < 42 and own.verify() == []  # the cell at the gate and its twin are missing

    with killed_at(toy, "chapter", hurt, own.root) as kernel:
        until(lambda: not alive(kernel))  # a kernel ends with the build that started it
    assert len(list(own)) == 42
    assert (hurt / "_build" / "stage" / "toy" / "one.ipynb").exists()
    assert not (hurt / "_build" / "stage" / "toy" / "two.ipynb").exists()

    with killed_at(toy, "render", hurt, own.root):
        pass
    page = hurt / "_build" / "html" / "toy" / "one.html"
    assert page.exists() and not (page.parent / "two.html").exists()
    page.write_bytes(page.read_bytes()[:1000])  # so may a page look that was being written

    with started(toy, hurt, own.root) as last:
        output = finished(last)
    assert "cells: reused 42, computed 0" in output and "chapters: reused 2, computed 0" in output
    assert rows(hurt) == rows(one) and not differing(site(hurt), site(one))


@contextlib.contextmanager
def limited(kind, size):
    """A limit of this process for the time being. Python ignores the signal of a file that grows too large."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def error_of(catalogue, monkeypatch, *words):
    """The one-line error of the real entry point; empty if it had none."""
    monkeypatch.setattr(sys, "argv", ["infocap", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main(catalogue)
    code = caught.value.code or ""
    assert not code or (code.startswith("error: ") and len(code.splitlines()) == 1), code
    return code


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_stops_a_sweep_and_keeps_what_is_finished(catalogue, monkeypatch, tmp_path, capsys, jobs):
    get_reusable_executor().shutdown(wait=True)  # a pool of an earlier test would not know the package
    store = Store(tmp_path / "store")
    words = [
        "sweep",
        "--profile",
        "smoke",
        "--set",
        "toy.table.main.xs=[1, 2, 50000, 3]",
        "--jobs",
        jobs,
        "--store",
        store.root,
    ]
    with limited(resource.RLIMIT_FSIZE, 100_000):  # the result of the third cell is larger
        error = error_of(catalogue, monkeypatch, *words)
    assert error == (
        f"error: store: cannot write to {store.root} (File too large); "
        "finished cells are kept, and the next run goes on from there"
    )
    kept = len(list(store))
    assert store.verify() == [] and not list(store.root.rglob("*.tmp"))
    assert kept == 2 if jobs == 1 else kept <= 3
    assert error_of(catalogue, monkeypatch, *words) == ""
    assert f"reused {kept}, computed {4 - kept}" in capsys.readouterr().out


def test_a_full_disk_keeps_the_table_that_was_there(tmp_path):
    path = tmp_path / "table.json"
    write(Table("toy", "smoke", pd.DataFrame({"x": [1]})), path)
    with limited(resource.RLIMIT_FSIZE, 100_000), pytest.raises(OSError, match=r"table: cannot write .*table\.json"):
        write(Table("toy", "smoke", pd.DataFrame({"x": range(20_000)})), path)
    assert read(path).frame["x"].tolist() == [1] and os.listdir(tmp_path) == ["table.json"]


def test_a_full_disk_stops_a_chapter(tmp_path):
    book = make_book(tmp_path / "book", "unused", last="print('x' * 200_000)")
    nbformat.write(new_notebook(), tmp_path / "one.ipynb")
    (book / "_build" / "stage" / "toy").mkdir(parents=True)
    os.rename(tmp_path / "one.ipynb", book / "_build" / "stage" / "toy" / "one.ipynb")
    with limited(resource.RLIMIT_FSIZE, 100_000), pytest.raises(runner.ChapterError, match="File too large") as caught:
        runner.stage(book, {"toy/two": {"profile": "smoke"}}, {"toy/two": {}}, jobs=1)
    assert str(caught.value).startswith(str(book / "toy" / "two.ipynb")) and "\n" not in str(caught.value)
    assert not (book / "_build" / "stage" / "toy" / "two.ipynb").exists()


def test_a_store_below_a_file_is_refused_before_anything_is_computed(catalogue, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("mine")
    catalogue.tables["toy/table"].measure = None  # calling it would be another error
    for place in (tmp_path / "file", tmp_path / "file" / "store", Path("/proc/store")):
        error = error_of(catalogue, monkeypatch, "sweep", "--profile", "smoke", "--store", place)
        assert error.startswith(f"error: store: cannot write to {place} (")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_store_serves_what_it_has(catalogue, monkeypatch, tmp_path, capsys):
    words = ["sweep", "--profile", "smoke", "--jobs", 1, "--store", tmp_path / "store"]
    assert error_of(catalogue, monkeypatch, *words) == ""
    (tmp_path / "store").chmod(0o555)
    if os.geteuid() == 0:  # no permission stops root; a read-only disk does, and then says this
        monkeypatch.setattr(store_module.os, "access", lambda path, mode: False)
    assert error_of(catalogue, monkeypatch, *words) == ""
    assert "reused 3, computed 0" in capsys.readouterr().out
    error = error_of(catalogue, monkeypatch, *words, "--set", "toy.table.main.xs=[1, 7]")
    assert error.startswith(f"error: store: cannot write to {tmp_path / 'store'} (it is read-only)")
    assert len(list(Store(tmp_path / "store"))) == 3
    (tmp_path / "store").chmod(0o755)


def test_a_book_that_cannot_be_written_to_is_said(catalogue, monkeypatch, tmp_path):
    book = make_book(tmp_path / "book", "unused")
    (book / "_build").write_text("a file where a folder should be")
    words = ["run", "--book", book, "--store", tmp_path / "store"]
    assert error_of(catalogue, monkeypatch, *words).startswith(f"error: book: cannot write to {book / '_build'} (")
    assert not (tmp_path / "store").exists()


KEY = "abcd"


def entry(header, body=b"", size=None):
    """A file as safetensors lays it out: the header's size, the header, the arrays."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if size is None else size) + header + body


def forged(text):
    """A record whose checksum is right, whatever it says."""
    return entry({"__metadata__": {"record": text, "sha256": _checksum(KEY, text, {})}})


def array(kind, shape, end, body=b"\0" * 4):
    return entry({"a": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}, body)


HOSTILE = {
    "a header of 2^60 bytes": entry(b"{}", size=2**60),
    "a header of 2^64 - 1 bytes": entry(b"{}", size=2**64 - 1),
    "a deep header": entry(b'{"a":' * 50_000 + b"}" * 50_000),
    "no UTF-8": entry(b'{"\xff": 1}'),
    "metadata of another type": entry({"__metadata__": {"record": 3}}),
    "metadata that is a list": entry({"__metadata__": [3]}),
    "an array of 2^42 bytes": array("F32", [2**40], 2**42),
    "a shape that overflows": array("F32", [2**62, 2**62], 4),
    "a shape that overflows with nothing in it": array("F32", [2**62, 0, 2**62], 0, b""),
    "a negative shape": array("F32", [-1], 4),
    "a hundred dimensions": array("F32", [1] * 100, 4),
    "a type that numpy lacks": array("F8_E4M3", [4], 4),
    "another type that numpy lacks": array("BF16", [2], 4),
    "deep JSON": forged("[" * 100_000 + "]" * 100_000),
    "no JSON": forged("nothing"),
    "NaN in place of a record": forged("NaN"),
    "a number of 5,000 digits": forged(f'["toy", {{}}, {{"y": {"9" * 5000}}}, {{}}]'),
    "a list of numbers": forged("[1, 2, 3, 4]"),
    "a text of four letters": forged('"abcd"'),
    "a dictionary": forged('{"table": "toy"}'),
    "too few parts": forged('["toy", {}, {}]'),
    "too many parts": forged('["toy", {}, {}, {}, {}]'),
}


def refused_then_replaced(store):
    record = Record("toy", {"x": 1}, {"y": 2.0}, {"seconds": 0.1}, {"a": np.arange(5)})
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with limited(resource.RLIMIT_AS, size + 2**28), pytest.warns(DamagedRecordWarning, match="computed again"):
        assert store.get(KEY) is None
    assert store.verify() == [KEY]
    store.put(KEY, record)
    assert store.get(KEY).result == record.result and store.verify() == []


@pytest.fixture
def damaged(tmp_path):
    """A store and the path of its only entry, where something else will lie."""
    store = Store(tmp_path / "store")
    store.path(KEY).parent.mkdir(parents=True)
    return store, store.path(KEY)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_entry_is_refused_and_replaced(damaged, name):
    store, path = damaged
    path.write_bytes(HOSTILE[name])
    refused_then_replaced(store)


def test_an_entry_of_a_terabyte_is_not_even_opened(damaged):
    store, path = damaged
    content = entry({"a": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}})
    with path.open("wb") as file:
        file.write(content)
        file.truncate(len(content) + 2**40)  # a hole: it takes no room
    refused_then_replaced(store)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_and_replaced(damaged, make):
    store, path = damaged
    make(path)
    refused_then_replaced(store)


def test_a_folder_in_the_place_of_an_entry_keeps_its_files(damaged):
    store, path = damaged
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    assert store.prune(set()) == 0
    refused_then_replaced(store)
    (moved,) = path.parent.glob(f"{KEY}.moved-*")
    assert (moved / "notes.txt").read_text() == "mine"


def test_a_symlink_to_itself_counts_as_absent(damaged):
    store, path = damaged
    path.symlink_to(path)
    assert store.get(KEY) is None and store.verify() == []
    store.put(KEY, Record("toy", {}, {"y": 1}, {}))
    assert store.get(KEY).result == {"y": 1} and not path.is_symlink()


def test_a_record_that_is_too_large_is_refused(damaged, monkeypatch):
    store, path = damaged
    monkeypatch.setattr(store_module, "_LARGEST", 1000)
    with pytest.raises(TypeError, match=r"arrays: got a record of \d+ bytes; accepted: up to 1000"):
        store.put(KEY, Record("toy", {}, {}, {}, {"a": np.zeros(1000)}))
    assert not path.exists()


def test_a_staged_chapter_that_was_cut_counts_as_never_executed(tmp_path):
    staged = tmp_path / "_build" / "stage" / "toy" / "one.ipynb"
    staged.parent.mkdir(parents=True)
    staged.write_text('{"cells": [')
    assert runner.record(tmp_path, "toy/one") == {}
