"""The examples on the page about the reader's own model and data run as they stand there."""

import re
from pathlib import Path

import pytest
import torch

from infocap.bounds import fcmi_bound, generalization_gap

PAGE = Path(__file__).resolve().parents[2] / "book" / "own-data.md"
SETUP, *EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(example):
    names = {}
    with torch.random.fork_rng():
        exec(SETUP, names)
        exec(EXAMPLES[example], names)
    return names


def test_one_example_for_each_part_of_at_most_ten_lines():
    assert len(EXAMPLES) == 4
    assert all(len([line for line in example.splitlines() if line]) <= 10 for example in EXAMPLES)


@pytest.mark.parametrize("ranking", [(0, "suspects"), (1, "order")], ids=["limit", "information"])
def test_wrong_labels_stand_out(ranking):
    example, name = ranking
    first = run(example)[name][:20]
    assert (first < 20).double().mean() > 0.7


def test_bounds_hold():
    names = run(2)
    runs, bounds = names["runs"], names["bounds"]
    gap = generalization_gap(runs)
    assert gap > 0.03 and fcmi_bound(runs) >= gap
    assert bounds.set_index("name")["values"].iloc[0] == fcmi_bound(runs)


def test_labels_with_mistakes_are_more_complex_than_soft_answers():
    *soft, hard = run(3)["complexity"].tolist()
    assert len(soft) == 3 and max(soft) < hard
