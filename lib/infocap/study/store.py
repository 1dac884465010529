"""Where do finished results live, so that a killed run loses nothing?

One file per cell, named by the cell's key. A file is written to a temporary name in the same folder, flushed, then
renamed, so that it is whole or absent; names are content addresses, so two processes on one store can only write the
same thing twice. Arrays and JSON share one safetensors file; nothing is pickled.

Conventions: a file that is not a whole record (its checksum does not match, it is a pipe, it claims an absurd size)
is treated as absent, reported, and replaced when it is next computed. A checksum guards against accidents and foreign
files; who may write to the folder may also forge a result.
"""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from infocap._files import replace

__all__ = ["DamagedRecordWarning", "Record", "Store"]


_LARGEST = 2**30  # bytes; the largest record of the book has a few million


class DamagedRecordWarning(UserWarning):
    """A record did not match its checksum; it counts as absent."""


@dataclass(frozen=True)
class Record:
    """The result of one cell.

    Attributes:
        table: Name of the table.
        fields: The cell's fields.
        result: JSON-able scalars and lists.
        provenance: Version, device, threads, seconds and package versions of the computation.
        arrays: Arrays by name.
    """

    table: str
    fields: dict[str, Any]
    result: dict[str, Any]
    provenance: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Store:
    """A folder of results, one file per cell.

    Args:
        root: The folder, made on first use; ``None`` is the user's cache folder.

    Example:
        >>> import tempfile
        >>> store = Store(tempfile.mkdtemp())
        >>> store.put("ab12", Record("toy", {"n": 1}, {"x": 2.0}, {}))
        >>> store.get("ab12").result, store.get("cd34")
        ({'x': 2.0}, None)
    """

    def __init__(self, root: str | Path | None = None):
        self.root = Path(root) if root else Path(platformdirs.user_cache_dir("infocap")) / "store"

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.root.joinpath(key[:2], f"{key}.safetensors")

    def __contains__(self, key: str) -> bool:
        return self.path(key).exists()

    def __iter__(self) -> Iterator[str]:
        """All keys in the store, sorted."""
        names = sorted(path.stem for path in self.root.glob("??/*.safetensors"))
        yield from (name for name in names if self.path(name).exists())  # a file in another's folder is not a record

    def get(self, key: str) -> Record | None:
        """The record of a key; ``None`` if it is absent or damaged (with a ``DamagedRecordWarning``)."""
        try:
            return self._read(key)
        except FileNotFoundError:
            return None
        except ValueError as error:
            warnings.warn(f"{self.path(key)}: {error}; it will be computed again", DamagedRecordWarning, stacklevel=2)
            return None

    def put(self, key: str, record: Record) -> None:
        """Writes a record; afterwards it is whole on disk, whatever happens to this process.

        Raises:
            TypeError: A result is neither JSON-able nor an array of numbers, or it is too large.
            OSError: The store cannot be written to, such as on a full disk.
        """
        arrays = {
            name: np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
            for name, array in record.arrays.items()
        }
        text = json.dumps([record.table, record.fields, record.result, record.provenance])
        try:
            content = save(arrays, metadata={"record": text, "sha256": _checksum(key, text, arrays)})
        except SafetensorError as error:
            raise TypeError(f"arrays: {error}") from error
        if len(content) > _LARGEST:
            raise TypeError(f"arrays: got a record of {len(content)} bytes; accepted: up to {_LARGEST}")
        path = self.path(key)
        try:
            if path.is_dir():  # whatever it holds is not ours to remove
                path.rename(path.with_suffix(f".moved-{time.time_ns()}"))
            replace(path, content)
        except OSError as error:
            raise self._unwritable(error) from error

    def require_writable(self) -> None:
        """Refuses a store that could not keep a result, before one is computed.

        Raises:
            OSError: The folder cannot be made or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not os.access(self.root, os.W_OK | os.X_OK):
                raise PermissionError("it is read-only")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OSError:
        kept = "finished cells are kept, and the next run goes on from there"
        return OSError(f"store: cannot write to {self.root} ({error.strerror or error}); {kept}")

    def verify(self) -> list[str]:
        """Reads every record; returns the keys of the damaged ones."""
        damaged = []
        for key in self:
            try:
                self._read(key)
            except FileNotFoundError:
                continue  # pruned by another process since it was listed
            except ValueError:
                damaged.append(key)
        return damaged

    def prune(self, keep: set[str]) -> int:
        """Removes all records but those in ``keep``, and what killed writers left; returns the bytes freed."""
        stale = [self.path(key) for key in self if key not in keep]
        hour_ago = time.time() - 3600  # a younger temporary file may belong to a writer that is alive
        stale += self.root.glob("??/*.tmp")
        freed = 0
        for path in stale:
            try:
                status = path.lstat()
                if path.suffix == ".tmp" and status.st_mtime > hour_ago:
                    continue
                path.unlink()
            except (FileNotFoundError, IsADirectoryError):  # another process was faster; a folder is not ours
                continue
            freed += status.st_size
        return freed

    def _read(self, key: str) -> Record:
        path = self.path(key)
        if not path.exists():
            raise FileNotFoundError(path)
        if not path.is_file():  # reading a pipe would never end
            raise ValueError("not a file")
        size = path.stat().st_size
        if size > _LARGEST:
            raise ValueError(f"{size} bytes, more than any record")
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is not a dict
            text = metadata.get("record", "")
            if metadata.get("sha256") != _checksum(key, text, arrays):
                raise ValueError("the checksum does not match")
            parts = json.loads(text)
            if [type(part) for part in parts] != [str, dict, dict, dict]:
                raise TypeError("its parts have other types")
            return Record(*parts, arrays=arrays)
        except (
            SafetensorError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:  # of numpy types that do not exist
            raise ValueError(f"not a whole record ({error})") from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OSError(f"store: cannot read {path} ({error})") from error


def _checksum(key: str, text: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(f"{key} {text}".encode())  # the key, so that a renamed record is not another cell's result
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
