"""When, where and with what was this book built, and what took how long?

Every build writes a manifest, a JSON file beside the pages, and the status page shows it. What is reused keeps the
record of the run that computed it.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infocap._files import replace
from infocap.study import provenance, runner
from infocap.study.sweep import Progress

__all__ = ["gather", "lasting", "write", "write_page"]


def gather(
    book: Path,
    facts: dict[str, Any],
    progress: Progress,
    tables: dict[str, dict[str, Any]],
    reasons: dict[str, str],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The manifest of a build.

    Args:
        book: The folder of ``_toc.yml``, with its chapters staged.
        facts: Profile, settings and device.
        progress: What the sweep reused and computed.
        tables: Provenance of the tables that the build wrote.
        reasons: For each chapter that the build was asked for, why it was executed; empty if it was reused.
        seconds: Duration of the build's steps.

    Returns:
        A JSON-able dictionary.
    """
    stamp = {name: value for name, value in provenance.stamp().items() if name not in ("device", "threads")}
    chapters = {}
    for name in runner.chapters(book):
        did = "as it was" if name not in reasons else "executed" if reasons[name] else "reused"
        chapters[name] = {"this build": did, "why": reasons.get(name, "")} | runner.record(book, name)
    return {
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        **stamp,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "cells": {"reused": progress.reused, "computed": progress.computed, "skipped": list(progress.skipped)},
        "chapters": chapters,
        "tables": tables,
    }


def lasting(manifest: dict[str, Any]) -> str:
    """What a manifest says that is no matter of one build: all but its times, and what it reused and computed."""
    facts = {name: value for name, value in manifest.items() if name not in ("built", "seconds", "cells", "chapters")}
    return json.dumps(facts)


def write(path: Path, manifest: dict[str, Any]) -> None:
    """Writes a manifest as JSON."""
    replace(path, (json.dumps(manifest, indent=1, allow_nan=False) + "\n").encode())


def write_page(book: Path, manifest: dict[str, Any]) -> None:
    """Writes what the status page includes into the stage: ``_status.md``."""
    cells, seconds = manifest["cells"], manifest["seconds"]
    packages = ", ".join(f"{name} {version}" for name, version in manifest["packages"].items())
    lines = [
        f"- Built on {_time(manifest['built'])} from commit `{manifest['commit']}`, lock `{manifest['lock']}`.",
        f"- Profile {_profile(manifest)}, device `{manifest['device']}`.",
        f"- Python {manifest['python']} on {manifest['system']}; {packages}.",
        f"- Cells of the experiments: {cells['reused']} reused, {cells['computed']} computed, "
        f"{len(cells['skipped'])} skipped because their data is not at hand. That took {seconds['cells']:g} s, "
        f"the chapters {seconds['chapters']:g} s.",
        "- All of this, and the seconds of every cell, as JSON: "
        '<a href="manifest.json" download>manifest.json</a>.',  # lies beside the pages, not among their sources
        "",
        "## Chapters",
        "",
        "| Chapter | In this build | Seconds | Slowest cell | Last executed |",
        "|---|---|--:|---|---|",
    ]
    for name, chapter in manifest["chapters"].items():
        did = ": ".join(filter(None, (chapter["this build"], chapter["why"])))
        slowest = max(chapter["cells"], key=lambda cell: cell["seconds"], default=None)
        place = f"{slowest['seconds']:.1f} s, cell {slowest['cell']}" if slowest else ""
        last = f"{_time(chapter['executed'])}, {provenance.listed(chapter['commit'])}"
        used = chapter["parameters"]
        if used["settings"] or used["profile"] != manifest["profile"]:
            last += f", {_profile(used)}"
        lines.append(f"| [{_spaced(name)}](/{name}.ipynb) | {did} | {chapter['seconds']:.1f} | {place} | {last} |")
    lines += [
        "",
        "## Tables that this build read",
        "",
        "| Table | Cells | Seconds | Slowest cell | Device | Commit |",
        "|---|---|--:|--:|---|---|",
    ]
    for name, facts in manifest["tables"].items():
        slowest = f"{max(facts['cell_seconds'], default=0):.1f} s"
        device, commits = provenance.listed(facts["device"]), provenance.listed(facts["commit"])
        finished = f"{facts['finished']} of {facts['cells']}"
        lines.append(f"| {_spaced(name)} | {finished} | {facts['seconds']:.1f} | {slowest} | {device} | {commits} |")
    replace(book / "_build" / "stage" / runner.STATUS, ("\n".join(lines) + "\n").encode())


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"


def _profile(facts: dict[str, Any]) -> str:
    # A setting is a line of code: in two backticks, since it may hold one, and with its bars escaped for tables.
    changes = [f"with `` {setting} ``".replace("|", r"\|") for setting in facts["settings"]]
    return " ".join([f"`{facts['profile']}`", *changes])


def _spaced(name: str) -> str:
    """A long name that may be folded in a narrow column."""
    return name.replace("/", " / ")
