"""How do the data sets inside the package reach the user's cache unharmed?

Each original file lies xz-compressed in ``bundled/``, beside its licence. ``unpack`` writes the originals where
torchvision looks for them. A file counts only if its SHA-256 is the one below; any other is replaced, never trusted.
"""

import functools
import hashlib
import lzma
from pathlib import Path

from infocap import _files

BUNDLED = Path(__file__).parent / "bundled"

# SHA-256 of the unpacked files.
FILES = {
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}

_LARGEST = 60_000 * 28 * 28 + 16  # bytes of the largest original; a file that unpacks to more is damaged


def unpack(name: str, folder: Path) -> None:
    """Make ``folder`` hold the verified original files of a data set.

    Several processes may do this at once: each writes under a name of its own and then renames, so that a reader sees
    a whole file or none.

    Args:
        name: a key of ``FILES``.
        folder: created if missing.

    Raises:
        RuntimeError: a file inside the package is missing or damaged.
        OSError: ``folder`` cannot be written to.

    Cost: about one second for MNIST and two for Fashion-MNIST if nothing is there; otherwise one SHA-256 per file and
    process.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from infocap.data.packed import unpack
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     unpack("mnist", Path(folder))
        ...     len(list(Path(folder).iterdir()))
        4
    """
    for file, sha256 in FILES[name].items():
        if not _is_intact(folder / file, sha256):
            content = _original(f"{name}-{file}.xz", sha256)
            try:
                _files.replace(folder / file, content)
            except PermissionError:
                # Windows lets nobody replace a file that another process, which was faster, is reading.
                if not _is_intact(folder / file, sha256):
                    raise


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return _digest(path, status.st_size, status.st_mtime_ns) == sha256


@functools.cache
def _digest(path: Path, size: int, modified: int) -> str:
    """Hash a file once per process; size and time of change are there to notice a file that was replaced since."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _original(packed: str, sha256: str) -> bytes:
    try:
        with (BUNDLED / packed).open("rb") as file, lzma.open(file) as stream:
            content = stream.read(_LARGEST + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise RuntimeError(_damaged(packed, str(error))) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RuntimeError(_damaged(packed, f"its content does not have the SHA-256 {sha256[:12]}..."))
    return content


def _damaged(packed: str, reason: str) -> str:
    return f"the packaged file {BUNDLED / packed} is damaged ({reason}); install infocap again"
