"""Every chapter runs from its committed source."""

import shutil
from pathlib import Path

import nbformat
import pytest

from infocap.experiments.catalogue import CATALOGUE
from infocap.study import runner
from infocap.study.parts import parts_read
from infocap.study.store import Store

BOOK = Path(__file__).resolve().parents[2] / "book"


CHAPTERS = [name for name in runner.chapters(BOOK) if not name.endswith("/exercises")]  # graded in test_teaching


@pytest.fixture
def own(store, tmp_path):
    """Makes a store of the cells that a chapter reads, so that a part that we missed is computed again and noticed."""

    def copy(name):
        parts, profile = parts_read(BOOK / f"{name}.ipynb", CATALOGUE.tables), CATALOGUE.load_profile("smoke")
        for table in CATALOGUE.tables:
            for task in CATALOGUE.work(table, profile) if table.split("/")[0] in parts else []:
                target = Store(tmp_path / "own").path(task.key)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(Store(store).path(task.key))
        return tmp_path / "own"

    return copy


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter(name, own, tmp_path):
    book, store = tmp_path / "book", own(name)
    shutil.copytree(BOOK, book, ignore=shutil.ignore_patterns("_build"))
    parameters = {"profile": "smoke", "settings": [], "store": str(store)}
    runner.check_parameters(book / f"{name}.ipynb", parameters)
    before = set(Store(store))
    outcome = runner.execute(book, name, parameters, {})
    assert isinstance(outcome, float), outcome
    assert set(Store(store)) == before  # a chapter reads tables, the sweep computed them
    executed = nbformat.read(book / "_build" / "stage" / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert outputs and not [o.text for o in outputs if o.get("name") == "stderr"]
    text = "".join(o.text for o in outputs if o.output_type == "stream")
    assert "commit: " in text and "profile: quick" not in text


@pytest.mark.parametrize("name", ["noisy_labels/limit", "generalization/fcmi"])
def test_a_copy_of_a_chapter_outside_the_project_runs(name, store, tmp_path):
    """With the installed library alone, which knows where its stored tables are."""
    copy = shutil.copy(BOOK / f"{name}.ipynb", tmp_path / "mine.ipynb")
    outcome = runner.execute(Path(copy).parent, "mine", {"profile": "smoke", "store": str(store)}, {})
    assert isinstance(outcome, float), outcome
