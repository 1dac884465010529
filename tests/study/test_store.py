"""A record is whole or absent, whatever happens to files and processes."""

import os
import pickle
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from safetensors.numpy import save

from infocap.study.store import DamagedRecordWarning, Record, Store

RECORD = Record("toy", {"x": 1}, {"y": 2.0}, {"seconds": 0.1}, {"a": np.arange(5), "b": np.ones((2, 3), "f4")})

WRITER = """
import sys
import numpy as np
from infocap.study.store import Record, Store

store, first, last = Store(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
while True:
    for number in range(first, last):
        array = np.full(200_000, number)
        store.put(f"{number:02d}ab", Record("toy", {"x": number}, {}, {}, {"a": array}))
        print(number, flush=True)
    if len(sys.argv) == 5:
        break
"""


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(6).reshape(2, 3).astype(kind) for kind in ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "bool", "c8")),
        np.array([np.nan, np.inf, -np.inf, -0.0]),
        np.zeros((0, 3), "f4"),
        np.array(7.0),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6)[::-2],
        np.arange(3, dtype=">f8"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_come_back(store, array):
    store.put("abcd", Record("toy", {}, {}, {}, {"a": array}))
    back = store.get("abcd").arrays["a"]
    assert back.shape == array.shape and back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)


def test_results_come_back(store):
    result = {"nan": float("nan"), "inf": float("inf"), "text": "β = 1", "none": None, "list": [1, [0.1]], "yes": True}
    store.put("abcd", Record("toy", {"x": 1}, result, {"seconds": 1}))
    back = store.get("abcd")
    assert repr(back.result) == repr(result)
    assert (back.table, back.fields, back.provenance, back.arrays) == ("toy", {"x": 1}, {"seconds": 1}, {})


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([object()])], ids=["text", "object"])
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(store, array):
    with pytest.raises(TypeError, match="arrays: Unknown dtype"):
        store.put("abcd", Record("toy", {}, {}, {}, {"a": array}))
    with pytest.raises(TypeError, match="not JSON serializable"):
        store.put("abcd", Record("toy", {}, {"x": np.float32(1)}, {}))
    assert "abcd" not in store and not list(store.root.rglob("*.tmp"))


def damaged_files():
    class Hostile:
        def __reduce__(self):
            return os.mkdir, ("hostile-was-here",)

    store = Store("unused")
    yield "empty", b""
    yield "text", b"<html>not found</html>"
    yield "pickle", pickle.dumps(Hostile())
    yield "foreign", save({"a": np.arange(3)})
    yield "foreign with metadata", save({"a": np.arange(3)}, metadata={"record": "[]", "sha256": "0"})
    assert not store.root.exists()


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in damaged_files()])
def test_a_foreign_file_is_not_trusted_and_replaced(store, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store.path("abcd").parent.mkdir(parents=True)
    store.path("abcd").write_bytes(content)
    with pytest.warns(DamagedRecordWarning, match=r"abcd\.safetensors: .*; it will be computed again"):
        assert store.get("abcd") is None
    assert store.verify() == ["abcd"]
    assert not (tmp_path / "hostile-was-here").exists()
    store.put("abcd", RECORD)
    assert store.get("abcd").result == RECORD.result and store.verify() == []


def test_no_flipped_bit_and_no_truncation_goes_unseen(store):
    store.put("abcd", RECORD)
    whole = store.path("abcd").read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :] for i in range(len(whole))]
    for content in [*flipped, *(whole[:i] for i in range(len(whole)))]:
        store.path("abcd").write_bytes(content)
        with pytest.warns(DamagedRecordWarning):
            assert store.get("abcd") is None


def test_a_renamed_record_is_not_another_cells_result(store):
    store.put("abcd", RECORD)
    os.rename(store.path("abcd"), store.path("abff"))
    with pytest.warns(DamagedRecordWarning, match="checksum"):
        assert store.get("abff") is None


def writer(store, first, last, *more):
    command = [sys.executable, "-c", WRITER, str(store.root), str(first), str(last), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_writer_leaves_whole_records_only(store):
    with writer(store, 0, 20) as child:
        child.stdout.readline()
        seen, end = set(), time.monotonic() + 1.5
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a torn record would warn
            while time.monotonic() < end:
                for number in range(20):
                    record = store.get(f"{number:02d}ab")
                    if record is not None:
                        assert (record.arrays["a"] == number).all()
                        seen.add(number)
        os.kill(child.pid, signal.SIGKILL)
    assert len(seen) > 1
    assert store.verify() == [] and len(list(store)) >= len(seen)


def test_two_processes_on_one_store(store):
    with writer(store, 0, 12, "once") as one, writer(store, 6, 18, "once") as other:
        one.stdout.read(), other.stdout.read()
    assert (one.returncode, other.returncode) == (0, 0)
    assert list(store) == [f"{number:02d}ab" for number in range(18)]
    assert store.verify() == [] and not list(store.root.rglob("*.tmp"))


def test_prune_keeps_what_it_is_told_and_live_temporary_files(store):
    for key in ("aaaa", "aabb", "bbcc"):
        store.put(key, RECORD)
    old, young = store.root / "aa" / "killed.tmp", store.root / "aa" / "alive.tmp"
    for file in (old, young):
        file.write_bytes(b"12345")
    os.utime(old, (0, 0))
    size = store.path("aaaa").stat().st_size
    assert store.prune({"aabb"}) == 2 * size + 5
    assert list(store) == ["aabb"]
    assert young.exists() and not old.exists()


def test_listing_is_sorted_and_ignores_other_files(store):
    assert list(store) == [] and store.verify() == [] and store.prune(set()) == 0  # before its folder exists
    for key in ("bbcc", "aabb"):
        store.put(key, RECORD)
    (store.root / "aa" / "notes.txt").write_text("mine")
    (store.root / "aa" / "elsewhere.safetensors").write_bytes(b"")
    assert list(store) == ["aabb", "bbcc"]
    assert "aabb" in store and "ffff" not in store and store.get("ffff") is None


def test_others_may_read_a_record(store):
    before = os.umask(0o022)
    try:
        store.put("abcd", RECORD)
    finally:
        os.umask(before)
    assert store.path("abcd").stat().st_mode & 0o777 == 0o644
