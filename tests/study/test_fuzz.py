"""Whatever is typed or lies in a file ends in one line that says what is wrong: 1,320 cases, the same in every run."""

import contextlib
import io
import json
import sys
import tomllib

import nbformat
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from infocap.experiments.catalogue import CATALOGUE
from infocap.study import cli, profiles, runner
from infocap.study.catalogue import Catalogue
from infocap.study.profiles import Profile, ProfileError
from infocap.study.scorecard import with_stored
from infocap.study.store import Store
from infocap.study.sweep import Progress
from infocap.study.tables import read

CASES = {
    "command lines": 450,
    "settings": 200,
    "profiles": 150,
    "tables": 200,
    "claim files": 200,
    "contents": 60,
    "notebooks": 60,
}
assert sum(CASES.values()) == 1320


def cases(kind):
    return settings(max_examples=CASES[kind], suppress_health_check=list(HealthCheck))


# Every character, also control characters and halves of surrogate pairs; at times a page of them.
texts = st.one_of(
    st.text(st.characters(), max_size=12),
    st.sampled_from(["", "-", "--", "=", "..", "\0", "\n", "\x1b[31m", "\udc80", "é\u202e", "9" * 5000, "a" * 70_000]),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def is_one_line(message):
    return message.startswith("error: ") and len(message) > 10 and len(message.splitlines()) == 1


def outcome(catalogue, monkeypatch, words):
    """Exit code and message of the real entry point."""
    monkeypatch.setattr(sys, "argv", ["infocap", *words])
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            cli.main(catalogue)
        except SystemExit as end:
            code = end.code or 0
    return (1, code) if isinstance(code, str) else (code, errors.getvalue().rstrip("\n"))


KEY = "toy.table.main"
WORDS = [
    *("run", "sweep", "claims", "store", "list", "verify", "prune", "doctor", "smoke", "quick", "full", "cpu", "0/1"),
    *("--profile", "--only", "--set", "--store", "--jobs", "--book", "--shard", "--scheduler", "--device", "--json"),
    *(
        "toy",
        "toy/table",
        f"{KEY}.xs=[1]",
        f"{KEY}.xs=[1",
        f"{KEY}.seeds=0",
        f"{KEY}.seeds=[1e400]",
        "xs",
        "=",
        "1",
        "-1",
        "1/0",
    ),
    *("9" * 30, "1.5", "nan", "--help", "--jobs=", "--set=", "-h", "--install-completion", "nowhere", "/dev/null"),
]
OPTIONS = {
    "--profile": ["smoke", "quick", "full", "quik", "../smoke"],
    "--set": [f"{KEY}.{text}" for text in ("xs=[1]", "xs=[1", "seeds=[2]", "seeds=0", "seeds=[1e400]", "sed=1", "xs")],
    "--store": ["here", "/dev/null", "/proc/nowhere"],
}


def command(*options):
    """A command with options that exist, and values that may or may not be valid."""
    pair = st.sampled_from(list(OPTIONS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(OPTIONS[name]) | texts)
    )
    return st.lists(pair, max_size=2).map(lambda pairs: [*options, *(word for pair in pairs for word in pair)])


command_lines = (
    st.lists(st.sampled_from(WORDS) | texts, max_size=7) | command("sweep") | command("claims") | command("run")
)


@pytest.fixture
def idle(catalogue, monkeypatch, tmp_path):
    """The toy's command line, which finds no store, no cluster and no book, and starts no work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cli, "cluster", lambda scheduler: contextlib.nullcontext())
    monkeypatch.setattr(cli.checks, "main", lambda: 0)
    monkeypatch.setattr(Store, "prune", lambda store, keep: 0)
    monkeypatch.setattr(Catalogue, "compute", lambda self, work, profile, store, **options: Progress(0, 0))
    return catalogue


def test_command_lines(idle, monkeypatch):
    codes = []

    @cases("command lines")
    @given(command_lines)
    def check(words):
        code, message = outcome(idle, monkeypatch, words)
        codes.append(code)
        assert code in (0, 1, 2)
        if code and words not in ([], ["store"]):  # which show the help
            assert is_one_line(message), message
        else:
            assert not message

    check()
    assert all(codes.count(code) > 20 for code in (0, 1, 2))  # all three are met


smoke = (CATALOGUE.profiles / "smoke.toml").read_text(encoding="utf-8")
quick = (CATALOGUE.profiles / "quick.toml").read_text(encoding="utf-8")
known = ["device", *profiles._known(CATALOGUE.tables, tomllib.loads(quick))]


@cases("settings")
@given(st.sampled_from(known) | texts, st.sampled_from(["=", "", "==", " = "]), texts | values.map(repr))
def test_settings(key, equals, value):
    try:
        assert isinstance(CATALOGUE.load_profile("smoke", [f"{key}{equals}{value}"]), Profile)
    except ProfileError as error:
        assert is_one_line(f"error: {cli._one_line(str(error))}") and len(str(error)) < 2000


@st.composite
def profile_files(draw):
    """The smoke profile with a piece cut out and another put in, or something else altogether."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=40) | st.sampled_from([b"a = " + b"[" * 5000, b"a = " + b"9" * 5000, b"\xff"]))
    start = draw(st.integers(0, len(smoke)))
    end = draw(st.integers(start, min(len(smoke), start + 40)))
    pieces = [
        "",
        "[",
        "]",
        "x = 1\n",
        "[[a]]\n",
        "= nan",
        "-1",
        "1e400",
        '"',
        "'''",
        "\0",
        "1979-05-27",
        "0x" + "f" * 5000,
    ]
    piece = draw(st.sampled_from(pieces) | st.text(max_size=8))
    return (smoke[:start] + piece + smoke[end:]).encode()


def test_profiles(tmp_path):
    refused = []
    (tmp_path / "quick.toml").write_text(quick)  # which smoke extends

    @cases("profiles")
    @given(profile_files())
    def check(content):
        (tmp_path / "mine.toml").write_bytes(content)
        try:
            profiles.load(CATALOGUE.tables, tmp_path, "mine")
        except ProfileError as error:
            refused.append(str(error))
            assert is_one_line(f"error: {cli._one_line(str(error))}") and len(str(error)) < 2000
            assert str(error).startswith(str(tmp_path / "mine.toml"))

    check()
    assert len(refused) > CASES["profiles"] / 3


@st.composite
def table_files(draw):
    """A table's file with one part replaced, removed or added, or something else altogether."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.binary(max_size=40) | st.sampled_from([b"[" * 100_000, b'{"rows": ' * 50_000, b"", b"\xff"]))
    if kind == 1:
        return json.dumps(draw(values)).encode()
    content = {"name": "toy", "profile": "smoke", "rows": [{"x": 1}], "provenance": {}}
    part = draw(st.sampled_from(list(content)) | st.text(max_size=5))
    content[part] = draw(values)
    if draw(st.booleans()):
        content.pop(draw(st.sampled_from(sorted(content))))
    return json.dumps(content).encode()


def test_tables(tmp_path):
    path, refused = tmp_path / "table.json", []

    @cases("tables")
    @given(table_files())
    def check(content):
        path.write_bytes(content)
        try:
            assert isinstance(read(path).name, str)
        except ValueError as error:
            refused.append(str(error))
            assert str(error).startswith(f"{path}: ") and "; accepted: what write wrote" in str(error)
            assert is_one_line(f"error: {cli._one_line(str(error))}") and len(str(error)) < 2000

    check()
    assert len(refused) > CASES["tables"] / 2


ROWS = pd.DataFrame({"claim": ["toy/positive"]})
STORED = {"claim": "toy/positive", "profile": "full", "verdict": "reproduced", "evidence": "", "estimates": []}
STORED |= {"device": "cpu", "commit": "1", "date": "2026-01-01"}


def test_claim_files(tmp_path):
    path, refused = tmp_path / "scorecard.json", []
    part = st.sampled_from(list(STORED))

    @cases("claim files")
    @given(table_files() | st.builds(lambda part, new: json.dumps([STORED | {part: new}]).encode(), part, values))
    def check(content):
        path.write_bytes(content)
        try:
            assert len(with_stored(ROWS, path)) == 1
        except ValueError as error:
            refused.append(str(error))
            assert str(error).startswith(f"{path}: ") and "; accepted: what python" in str(error)
            assert is_one_line(f"error: {cli._one_line(str(error))}") and len(str(error)) < 2000

    check()
    assert len(refused) > CASES["claim files"] / 2


def notebook(code="profile = 'quick'\nsettings = []\nstore = None"):
    cell = new_code_cell(code, metadata={"tags": ["parameters"]}, id="cell")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.writes(new_notebook(cells=[cell], metadata={"kernelspec": kernel}))


def in_book(idle, monkeypatch, tmp_path, contents, chapter):
    """What the command says about a book with such a table of contents and such a chapter."""
    (tmp_path / "_toc.yml").write_bytes(contents)
    (tmp_path / "one.ipynb").write_bytes(chapter)
    monkeypatch.setattr(runner, "alone", lambda book: (_ for _ in ()).throw(OSError("that would start work")))
    code, message = outcome(idle, monkeypatch, ["run", "--book", str(tmp_path)])
    assert code == 1 and is_one_line(message)
    return message


CONTENTS = b"format: jb-book\nroot: intro\nchapters:\n- file: one\n"
pages = st.sampled_from(["one", "..", 3, None, ["one"], {"file": "one"}, "\0", "a" * 5000])
contents = st.one_of(
    st.binary(max_size=30),
    st.sampled_from(
        [b"", b"[" * 5000, b"&a [*a]", b"root: !!python/object:os.system {}", b"- {file: {}}", b"\xff\xfe"]
    ),
    st.builds(lambda root, page: json.dumps({"root": root, "chapters": [{"file": page}]}).encode(), pages, pages),
    values.map(lambda value: json.dumps({"root": "intro", "chapters": value}).encode()),
    st.integers(0, len(CONTENTS)).map(lambda end: CONTENTS[:end] + b"\t:" + CONTENTS[end:]),
)


def test_tables_of_contents(idle, monkeypatch, tmp_path):
    @cases("contents")
    @given(contents)
    def check(content):
        in_book(idle, monkeypatch, tmp_path, content, notebook().encode())

    check()


@st.composite
def chapters(draw):
    whole = notebook()
    if draw(st.booleans()):
        place = draw(st.integers(0, len(whole)))
        return (whole[:place] + draw(st.sampled_from(["", "{", "]", "\\", "3", "\0"]))).encode()
    content = json.loads(whole)
    target = draw(
        st.sampled_from([content, content["metadata"], content["cells"][0], content["metadata"]["kernelspec"]])
    )
    target[draw(st.sampled_from(sorted(target)))] = draw(values)
    return json.dumps(content).encode()


def test_notebooks(idle, monkeypatch, tmp_path):
    @cases("notebooks")
    @given(chapters())
    def check(chapter):
        in_book(idle, monkeypatch, tmp_path, CONTENTS, chapter)

    check()
