"""With what was this computed?"""

import hashlib
import importlib.metadata
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

__all__ = ["PACKAGES", "stamp"]

PACKAGES = ("infocap", "torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "cleanlab")


def stamp(device: str = "cpu") -> dict[str, Any]:
    """What decides a number besides its cell: versions, commit, lock, machine.

    Args:
        device: ``cpu`` or ``cuda``, where the numbers were computed.

    Returns:
        A JSON-able dictionary. ``commit`` ends in ``+changes`` if files under git were changed, and is ``unknown``
        outside a git checkout; ``lock`` is the first 12 digits of the lock file's SHA-256.

    Example:
        >>> stamp()["device"]
        'cpu'
    """
    root = Path(__file__).resolve().parents[3]
    lock = root / "lib" / "requirements.lock"
    return {
        "commit": _commit(root),
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.exists() else "none",
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


@cache
def _commit(root: Path) -> str:
    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
