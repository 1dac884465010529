"""What is missing or mismatched in this environment?

Only the standard library is imported here, since anything else may be what is broken.
"""

import importlib
import importlib.metadata
import os
import re
import shutil
import sys
from pathlib import Path

__all__ = ["faults", "main"]

_NEEDED = ("torch", "torchvision", "papermill", "jupyter_book", "matplotlib", "seaborn", "safetensors", "cleanlab")
_FIX = "fix: make clean setup"


def main() -> int:
    """Prints the faults, or that there are none; returns the exit code."""
    found = faults()
    print("\n".join(found) or f"infocap {importlib.metadata.version('infocap')}: all checks passed")
    return int(bool(found))


def faults() -> list[str]:
    """One line per fault, each with its fix; an empty list if the book can be built here."""
    found = []
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        found.append(
            f"Python {sys.version.split()[0]}: the book needs 3.11 to 3.13; fix: make clean setup PYTHON=python3.11"
        )
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken package may raise anything
            found.append(_explain(name, error))
    found += _off_the_lock()
    return found + _cache_faults()


def _cache_faults() -> list[str]:
    try:
        from platformdirs import user_cache_dir
    except ImportError as error:
        return [_explain("platformdirs", error)]
    cache = Path(user_cache_dir("infocap"))
    parent = next(path for path in [cache, *cache.parents] if path.exists())
    if not os.access(parent, os.W_OK):
        return [f"{cache}: not writable; fix: make it writable, or pass --store and set INFOCAP_DATA"]
    if shutil.disk_usage(parent).free < 2e9:
        return [f"{cache}: less than 2 GB free; fix: free some, or pass --store and set INFOCAP_DATA"]
    return []


def _explain(name: str, error: Exception) -> str:
    if "torchvision::nms" in str(error):
        return "torch and torchvision are not a matching pair (operator torchvision::nms does not exist); " + _FIX
    return f"{name} cannot be imported ({type(error).__name__}: {error}); {_FIX}"


def _off_the_lock() -> list[str]:
    lock = Path(__file__).resolve().parents[2] / "requirements.lock"
    if not lock.exists():
        return []
    wanted: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([\w.+!-]+)", lock.read_text(encoding="utf-8")):
        wanted.setdefault(name, set()).add(version)  # a package may have one version per Python
    found = []
    for distribution in ("torch", "torchvision", "numpy", "pandas", "jupyter-book", "papermill"):
        try:
            installed = importlib.metadata.version(distribution).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # reported as an import that fails
        if installed not in wanted.get(distribution, {installed}):
            found.append(
                f"{distribution} {installed}: the lock has {' or '.join(sorted(wanted[distribution]))}; {_FIX}"
            )
    return found
