"""The boxes *Put in your own* run as they are printed, beside the book's smallest profile, and store nothing."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from torchvision.utils import save_image

from infocap.study.store import Store

BOOK = Path(__file__).resolve().parents[2] / "book"
PATHS = [path for path in sorted(BOOK.glob("[!_]*/*.ipynb")) if path.stem != "exercises"]
BOX = re.compile(r"^(:{3,})\{admonition\} Put in your own\n:class: tip\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = {  # what a reader may bring where there is a panel of methods; elsewhere own images are enough
    "noisy_labels/limit": {"method", "network", "data"},
    "sample_information/unique_information": {"method", "network", "data"},
    "distillation/online_distillation": {"method", "network", "data"},
}


def fences(path):
    """The code of a chapter's one box, and the code that it may rely on: the parameters and the first cell."""
    cells = nbformat.read(path, as_version=4).cells
    (box,) = [found for cell in cells if cell.cell_type == "markdown" for found in BOX.findall(cell.source)]
    code = [cell.source for cell in cells if cell.cell_type == "code" and cell.id != "install"]
    return code[1], FENCE.findall(box[1])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder ``my-images`` of three classes of grey squares, 28 x 28, that differ in where they are bright."""
    folder, generator = tmp_path_factory.mktemp("reader"), torch.Generator().manual_seed(0)
    for split in ("train", "test"):
        for place, name in enumerate("abc"):
            (folder / "my-images" / split / name).mkdir(parents=True)
            for number in range(60):
                image = 0.5 * torch.rand(1, 28, 28, generator=generator)
                image[:, 9 * place : 9 * place + 9] += 0.4
                save_image(image.expand(3, -1, -1), folder / "my-images" / split / name / f"{number}.png")
    return folder


def test_there_are_ten_chapters():
    assert len(PATHS) == 10


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.relative_to(BOOK).with_suffix("").as_posix())
def test_what_the_box_says_runs(path, store, images):
    first, code = fences(path)
    name = path.relative_to(BOOK).with_suffix("").as_posix()
    assert 1 <= len(code) <= 3 and all(len(one.splitlines()) <= 16 for one in code)
    wanted = KINDS.get(name, {"data"})
    text = "\n".join(code)
    assert "my-images" in text and ("network" not in wanted or "network=" in text)
    parameters = f"profile, settings, store = 'smoke', [], {str(store)!r}\n"
    script = images / f"{name.replace('/', '_')}.py"
    script.write_text("\n\n".join([parameters, first, *code]), encoding="utf-8")
    before = sorted(Store(store))
    outcome = subprocess.run([sys.executable, script.name], cwd=images, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    if ".also(" in text:
        assert outcome.stdout.count("computed here, not stored") >= text.count(".also(")
    assert sorted(Store(store)) == before
