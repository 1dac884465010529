"""Each rule of part 3 decides its statement: made-up predictions for which the verdict is known."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from infocap.bounds import Bound, SupersampleRuns, complementary_selectors, fcmi_bound, registry, row_information
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.generalization import claims, results, toys
from infocap.study.claims import Verdict, claims_of, decide
from infocap.study.tables import Table

PAPER_SETS = "[{ n = 75, epochs = 200, seeds = [0, 1, 2] }, { n = 250, epochs = 200, seeds = [0, 1] }]"
QUICK = CATALOGUE.load_profile(
    "quick",
    [
        "generalization.training.noise.looks=2",
        "generalization.training.paper.draws=20",
        f"generalization.training.paper.sets={PAPER_SETS}",
    ],
)  # made-up runs, enough for every verdict
PANELS = {name: panel.cells for name, panel in QUICK.panels["generalization/training"].items()}
CLAIMS = claims_of(claims)
BY_NAME = {claim.name.removeprefix("generalization/"): claim for claim in CLAIMS}
PAPER_GAP = {75: 0.08347, 250: 0.03451, 1000: 0.01411}


def world(cell, *, rate=0.16, scale=1.0, rising=False, wide=1.0, variance=16_000.0, early=4.0, first_errors=0.25,
          unrelated=False):  # fmt: skip
    """Arrays of one supersample in which every claim is true; the options each break some of them.

    Some rows err with probability ``rate`` on the column that was not trained on, and the other rows never do.
    """
    generator = torch.Generator().manual_seed(1000 * cell.seed + cell.n)
    n = cell.n
    share = scale * (n / 2000 if rising else PAPER_GAP[n] / 0.16)
    if cell.panel == "draws":  # rare errors in every row, which few draws miss
        rate, share = 0.03, 1.0
    share *= (1 + 0.05 * (cell.seed - 1)) * (wide if cell.panel == "wide" else 1.0)
    selectors = complementary_selectors(cell.draws, n, generator)
    looks = sorted({max(1, round(cell.epochs * (look + 1) / cell.looks)) for look in range(cell.looks)})
    errs = (torch.arange(n) < share * n)[:, None].expand(n, 2)
    predictions = []
    for look in range(len(looks)):
        draw = torch.rand(cell.draws, n, 2, generator=generator)
        tested = torch.stack([selectors == 1, selectors == 0], -1)
        wrong = errs & tested & (draw < rate)
        if cell.panel == "noise" and look == (0 if first_errors else len(looks) - 1):
            wrong |= draw < (first_errors or 0.25)
        if cell.panel == "draws" and unrelated:
            wrong = draw < 0.5
        predictions.append(wrong.byte())
    arrays = {
        "selectors": selectors.byte(),
        "labels": torch.zeros(n, 2).byte(),
        "predictions": torch.stack(predictions),
    }
    extra = {}
    if cell.panel == "sgld":
        steps = 10 * cell.epochs
        t = (torch.arange(steps) + 1.0) / steps
        arrays |= {
            "learning_rates": torch.full((steps,), 0.01),
            "inverse_temperatures": torch.full((steps,), 100.0),
            "gradient_variances": variance * t.pow(early).expand(2, -1),
        }
        extra = {"per_epoch": 10}
    return {"at": looks} | extra, {name: value.numpy() for name, value in arrays.items()}


def table(names=tuple(PANELS), **change):
    cells = [cell for name in names for cell in PANELS[name]]
    made = [world(cell, **change) for cell in cells]
    frame = pd.DataFrame([asdict(cell) | extra for cell, (extra, _) in zip(cells, made, strict=True)])
    places = {name: [row for row, cell in enumerate(cells) if cell.panel == name] for name in names}
    return Table("generalization/training", "quick", frame, {}, [arrays for _, arrays in made], places)


def toy_table(frame, names):
    places = {name: np.flatnonzero(frame["toy"] == name).tolist() for name in names}
    return Table("generalization/toys", "smoke", frame, panels=places)


@pytest.fixture(scope="module")
def truth():
    return table()


@pytest.fixture(scope="module")
def exact():
    cells = CATALOGUE.load_profile("smoke").cells("generalization/toys")
    frame = pd.DataFrame([asdict(cell) | toys.measure(cell) for cell in cells])
    return toy_table(frame, frame["toy"].unique())


def verdict(name, made):
    return decide(BY_NAME[name], made).verdict


BREAKS = {
    "nonvacuous": {"rate": 1.0, "scale": 20.0},
    "follows-the-gap": {"rate": 1.0},
    "falls-with-n": {"rising": True},
    "paper-gap": {"scale": 0.3},
    "paper-bound": {"scale": 0.3},
    "wide-is-no-worse": {"wide": 1.6},
    "few-draws-miss-information": {"unrelated": True},
    "beats-negrea-at-the-end": {"variance": 100.0},
    "loses-to-negrea-at-the-start": {"early": 0.0},
    "errors-reverse-the-order": {"first_errors": 0.0},
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_rule_decides_its_statement(name, truth):
    assert verdict(name, truth) == Verdict.REPRODUCED
    assert verdict(name, table(**BREAKS[name])) == Verdict.NOT_REPRODUCED
    assert verdict(name, table(["three"])) == Verdict.NOT_RUN


@pytest.mark.parametrize("name", ["certificates-hold", "interpolation-is-tightest"])
def test_a_bound_that_is_too_small_breaks_a_claim(name, truth, monkeypatch):
    assert verdict(name, truth) == Verdict.REPRODUCED
    wrong = Bound("too small", "gap", True, "nobody", lambda measured: 0.9 * measured.train_error - 0.1)
    monkeypatch.setattr(registry, "BOUNDS", [*registry.BOUNDS, wrong])
    assert verdict(name, truth) == Verdict.NOT_REPRODUCED


def test_three_classes_would_break_the_agreement_of_two(truth, monkeypatch):
    assert verdict("two-classes-agree", truth) == Verdict.REPRODUCED
    monkeypatch.setattr(
        claims,
        "row_information",
        lambda runs, variable="predictions": row_information(runs, "difference" if variable == "errors" else variable),
    )
    erring = table(["noise"], first_errors=0.0)
    assert verdict("two-classes-agree", erring) == Verdict.NOT_REPRODUCED


TOY_BREAKS = {
    "fcmi-at-most-cmi": ("thresholds", "weights", lambda values: [0.0 for _ in values]),
    "single-rows-are-tightest": ("thresholds", "whole", lambda values: [0.0 for _ in values]),
    "single-examples-say-nothing": ("counterexample", "single_information", lambda value: 0.1),
    "pairs-suffice": ("counterexample", "pair_bound", lambda value: 0.2),
    "pairs-of-predictions-suffice": ("pairs", "pair_bound", lambda values: [0.2 for _ in values]),
}


@pytest.mark.parametrize("name", TOY_BREAKS)
def test_a_rule_on_toys_decides_its_statement(name, exact):
    assert verdict(name, exact) == Verdict.REPRODUCED
    toy, column, change = TOY_BREAKS[name]
    frame = exact.frame.copy()
    mine = frame["toy"] == toy
    frame[column] = [change(value) if hit else value for hit, value in zip(mine, frame[column], strict=True)]
    assert verdict(name, toy_table(frame, [toy])) == Verdict.NOT_REPRODUCED
    assert verdict(name, toy_table(frame, [])) == Verdict.NOT_RUN


def test_every_rule_is_here():
    others = {"certificates-hold", "interpolation-is-tightest", "two-classes-agree"}
    names = {claim.name.removeprefix("generalization/") for claim in CLAIMS}
    assert names == set(BREAKS) | set(TOY_BREAKS) | others


def test_a_line_of_the_papers_table_without_runs_says_so(truth):
    lines = results.beside_the_paper(truth).set_index(["network", "n"])
    assert lines.loc[("MNIST 4/9, CNN", 4000), "gap, here"] == "not run"
    assert lines.loc[("MNIST 4/9, CNN", 75), "gap, here"].startswith("0.08")
    assert lines.loc[("CIFAR-10, ResNet-50", 5000), "bound, here"] == "not run"


def test_runs_keep_supersamples_and_epochs_apart(truth):
    rows = truth.panel("noise")
    first, last = (results.runs(truth, rows, look) for look in (0, -1))
    assert torch.equal(first.selectors, last.selectors)
    assert bool((first.train_error > 0).all()) and bool((last.train_error == 0).all())
    for place, index in enumerate(rows.index):
        assert np.array_equal(first.predictions[place], truth.arrays[index]["predictions"][0])


def test_fewer_draws_are_disjoint_groups_with_their_complements(truth):
    frame = results.by_draws(truth, counts=(60,))
    assert frame.groupby("draws")["groups"].first().to_dict() == {60: 4, 240: 1}
    rows = truth.panel("draws")
    assert frame[frame["draws"] == 240]["bound"].tolist() == pytest.approx(
        fcmi_bound(results.runs(truth, rows)).tolist()
    )


def test_the_exact_gap_of_the_mean_of_labels():
    """1 / (2 n) and (3 n - 2) / (4 n^3), from the moments of the binomial law."""
    frame = results.stability([3, 50])
    for row in frame.to_dict("records"):
        n = row["n"]
        assert row["expected gap"] == pytest.approx(1 / (2 * n))
        assert row["expected squared gap"] == pytest.approx((3 * n - 2) / (4 * n**3))
        assert row["bound"] >= row["expected gap"] and row["squared bound"] >= row["expected squared gap"]


def test_a_bound_of_ones_own_stands_beside_the_others(truth):
    def mine(runs):
        return 2 * runs.test_error

    one = results.largest(truth, "hard")
    assert one.selectors.shape[-1] == 250
    frame = results.bounds(one, mine)
    assert len(frame) == len(registry.BOUNDS) + 1 and frame["name"].iloc[-1] == "mine"
    assert frame["mean"].iloc[-1] == pytest.approx(2 * float(one.test_error.mean()))
    assert frame["mean"].iloc[:-1].tolist() == pytest.approx(results.bounds(one)["mean"].tolist(), nan_ok=True)


def test_pairs_of_rows_know_what_single_rows_do_not():
    """Row 0 tells its own coin; rows 1 and 2 both tell the sum of their coins, which is nothing for each alone."""
    selectors = toys.all_selectors(3)
    own, sums = selectors[:, 0], selectors[:, 1] ^ selectors[:, 2]
    predictions = torch.stack([own, sums, sums], 1)[..., None].expand(-1, -1, 2)
    runs = SupersampleRuns(selectors[None], predictions[None], torch.zeros(1, 3, 2, dtype=torch.long), 2)
    rows = results.pairs_of_rows(runs).set_index(["row", "other"])[["apart", "together"]] / np.log(2)
    assert rows.loc[(0, 1)].tolist() == pytest.approx([1, 1])
    assert rows.loc[(0, 2)].tolist() == pytest.approx([1, 1])
    assert rows.loc[(1, 2)].tolist() == pytest.approx([0, 1])
