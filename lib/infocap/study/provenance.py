"""With what was this computed?"""

import hashlib
import importlib.metadata
import platform
import subprocess
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import torch

from infocap.study.tables import Table

__all__ = ["PACKAGES", "describe", "listed", "origin", "stamp"]

PACKAGES = ("infocap", "torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "cleanlab")


def stamp(device: str = "cpu") -> dict[str, Any]:
    """What decides a number besides its cell: versions, commit, lock, machine.

    Args:
        device: ``cpu`` or ``cuda``, where the numbers were computed.

    Returns:
        A JSON-able dictionary. ``commit`` ends in ``+changes`` if files under git were changed, and is ``unknown``
        outside the project's checkout; ``lock`` is the first 12 digits of the lock file's SHA-256.

    Example:
        >>> stamp()["device"]
        'cpu'
    """
    return _environment() | {
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device,
        "threads": torch.get_num_threads(),
    }


def describe(*tables: Table) -> str:
    """The last lines of a chapter: with what its tables were computed.

    Args:
        tables: The tables that the chapter read, all of one profile.

    Returns:
        One field per line, long ones folded: versions, commit, profile, device and threads, and for each table its
        cells, how many of them are rows that are stored with the book, and how many of these were computed by older
        code; the seconds that computing them took, whenever that was, and the commits that did.

    Example:
        >>> describe().startswith("commit: ")
        True
    """
    content = stamp() | {"threads": "1 per cell"}
    if tables:
        content |= {"profile": tables[0].profile, "device": tables[0].provenance["device"]}
    content["packages"] = ", ".join(f"{name} {version}" for name, version in content["packages"].items())
    for table in tables:
        facts = table.provenance
        cells = f"{facts['finished']} of {facts['cells']} cells"
        kept = f", {facts['stored']} of them stored with the book" if facts.get("stored") else ""
        kept += f", {facts['older']} by older code than today's" if facts.get("older") else ""
        content[table.name] = f"{cells}{kept}, {facts['seconds']:g} s of computation at {listed(facts['commit'])}"
    lines = (f"{name}: {value}" for name, value in content.items())
    return "\n".join(textwrap.fill(line, width=80, subsequent_indent="  ") for line in lines)  # what a page shows


def origin(table: Table) -> str:
    """One sentence in Markdown on where a stored table comes from: profile, cells, time, device, commits.

    Example:
        >>> facts = {"finished": 2, "cells": 3, "seconds": 5400.0, "device": "cpu", "commit": "0123456789abcdef"}
        >>> origin(Table("a/b", "full", None, facts))
        'Stored results of `a/b`, profile `full`: 2 of 3 cells, 90 minutes on the clock of cpu, commit 012345678.'
    """
    facts = table.provenance
    commits = listed(facts["commit"]).split(", ")
    return (
        f"Stored results of `{table.name}`, profile `{table.profile}`: {facts['finished']} of {facts['cells']} "
        f"cells, {facts['seconds'] / 60:,.0f} minutes on the clock of {listed(facts['device'])}, "
        f"commit {', '.join(commit[:9] for commit in commits)}."
    )


def listed(value: str | list[str]) -> str:
    """One fact of a table's provenance as text: cells of one table may come from several machines and commits.

    Example:
        >>> listed("cpu"), listed(["cpu", "NVIDIA H100"])
        ('cpu', 'cpu, NVIDIA H100')
    """
    return value if isinstance(value, str) else ", ".join(value)


@cache
def _environment() -> dict[str, Any]:
    root = Path(__file__).resolve().parents[3]
    lock = root / "lib" / "requirements.lock"
    checkout = lock.exists()  # an installed package may lie inside somebody else's git repository
    return {
        "commit": _commit(root) if checkout else "unknown",
        "lock": hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if checkout else "none",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _commit(root: Path) -> str:
    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
