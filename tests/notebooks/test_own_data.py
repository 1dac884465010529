"""The examples on the page about the reader's own model and data run as they stand there."""

import re
from pathlib import Path

import pytest
import torch

from infocap.bounds import SupersampleRuns, fcmi_bound, generalization_gap

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
    for example in EXAMPLES:
        lines = [line for line in example.splitlines() if line]
        assert len(lines) <= 10 and max(map(len, lines)) < 80


@pytest.mark.parametrize("ranking", [(0, "suspects"), (1, "order")], ids=["limit", "information"])
def test_wrong_labels_stand_out(ranking):
    example, name = ranking
    first = run(example)[name][:20]
    assert (first < 20).double().mean() > 0.7


def test_bounds_hold():
    names = run(2)
    runs = SupersampleRuns(names["selectors"][None], *names["columns"], 3)
    gap = generalization_gap(runs)
    assert gap > 0.03 and fcmi_bound(runs) >= gap
    assert names["bounds"]["values"].iloc[0] == fcmi_bound(runs)


def test_labels_with_mistakes_are_more_complex_than_soft_answers():
    *soft, hard = run(3)["complexity"].tolist()
    assert len(soft) == 3 and max(soft) < hard
