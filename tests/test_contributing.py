"""What CONTRIBUTING says is enough: its method, claim and figure work in a copy of the library, as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import infocap

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path(infocap.__file__).parent
METHODS, CLAIMS = (f"experiments/noisy_labels/{name}" for name in ("methods/focal.py", "claims.py"))

KEYS = """
import json
from infocap.experiments.catalogue import CATALOGUE
profile = CATALOGUE.load_profile("quick")
print(json.dumps({name: [task.key for task in CATALOGUE.work(name, profile)] for name in CATALOGUE.tables}))
"""
USE = """
import json, sys
import pandas as pd
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.noisy_labels import claims, results, training as experiment
from infocap.study import plots
from infocap.study.book import BookTable
from infocap.study.claims import decide

recipes = CATALOGUE.load_profile("smoke").panels["noisy_labels/training"]
empty = BookTable("noisy_labels/training", "smoke", pd.DataFrame(), module=experiment, recipes=recipes)
rows = [empty.also(name, "main", jobs=1) for name in ("cross-entropy", "focal")]
frame = pd.concat(rows, ignore_index=True)
training = BookTable(empty.name, "smoke", frame, panels={"main": range(len(frame))}, module=experiment)
exec(sys.argv[1])
names = [claim.name for claim in CATALOGUE.claims]
drawn = [text.get_text() for text in axes.get_yticklabels()]
print(json.dumps([decide(claims.focal_stores_less, training).verdict, names, drawn]))
"""


def fences(language):
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def answer(folder, code, *arguments):
    """The last line that code prints which sees the library in a folder."""
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_a_method_a_claim_and_a_figure(tmp_path):
    copy = tmp_path / "infocap"
    shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    (copy / "data" / "bundled").symlink_to(LIBRARY / "data" / "bundled")
    method, claim, figure = fences("python")
    (line,) = fences("toml")
    before = answer(tmp_path, KEYS)
    assert method.startswith(f"# lib/infocap/{METHODS}\n")
    (copy / METHODS).write_text(method, encoding="utf-8")
    profile = copy / "experiments" / "profiles" / "quick.toml"
    text, opening = profile.read_text(encoding="utf-8"), "methods = [\n"
    start = text.index(opening, text.index("[noisy_labels.main]")) + len(opening)
    profile.write_text(text[:start] + line + text[start:], encoding="utf-8")
    after = answer(tmp_path, KEYS)
    new = {name: set(after[name]) - set(before[name]) for name in before}
    assert 1 <= len(new.pop("noisy_labels/training")) <= 20 and not any(new.values())
    assert all(set(before[name]) <= set(after[name]) for name in before)
    with (copy / CLAIMS).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{claim}")
    verdict, names, drawn = answer(tmp_path, USE, figure)
    assert verdict != "not run in this profile" and "noisy-labels/focal-stores-less" in names
    assert {"cross-entropy", "focal"} <= set(drawn)
