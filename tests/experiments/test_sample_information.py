"""Retraining and toys of part 2: rules and summaries on made-up tables, and the forces of the toys on small cells."""

import numpy as np
import pandas as pd
import pytest
import torch

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.sample_information import results, retraining, toys
from infocap.study.cells import fields
from infocap.study.claims import Verdict, decide
from infocap.study.tables import NotRun, Table

PROFILE = CATALOGUE.load_profile("quick")
BY_NAME = {claim.name.removeprefix("sample-information/"): claim for claim in CATALOGUE.claims}
RETRAINING, TOYS = "sample_information/retraining", "sample_information/toys"
METHODS = ["linearized", "linearized, to the end", "influence, damping 0.01", "influence, damping 0.1"]


def table_of(name, rows, cells):
    """Made-up rows for some cells of the profile; a panel lacks those that are left out."""
    panels = {
        panel: [cells.index(cell) if cell in cells else None for cell in held.cells]
        for panel, held in PROFILE.panels[name].items()
    }
    return Table(name, "quick", pd.DataFrame(rows), panels=panels)


def correlated(real, correlation, random):
    """Scores whose Pearson correlation with ``real`` is exactly the wanted one."""
    real = (real - real.mean()) / real.std()
    other = random.normal(size=len(real))
    other -= other.mean()
    other -= (other @ real) / (real @ real) * real
    return correlation * real + np.sqrt(1 - correlation**2) * other / other.std()


def retraining_table(without=None, **change):
    """Every claim on networks is true; ``change`` sets correlations of the linearization or of a method."""
    random = np.random.default_rng(0)
    rows, cells = [], [cell for cell in PROFILE.cells(RETRAINING) if cell.panel != without]
    for cell in cells:
        wanted = {
            "64": 0.5, "256": 0.95, "512": 0.99, "1024": 0.99, "cnn": 0.1, "pretrained": 0.9, "ridge": 0.03,
            "to the end": 0.3, "influence": 0.8,
        } | change  # fmt: skip
        kind = {"cnn": "cnn", "cnn_pretrained": "pretrained"}.get(cell.panel) or str(cell.widths[0])
        good = wanted[kind] + 0.001 * cell.seed + (wanted["ridge"] if cell.panel == "ridge" else 0)
        real = random.gamma(0.5, size=cell.left_out)
        by_method = dict(zip(METHODS, [good, wanted["to the end"], 0.1, wanted["influence"]], strict=True))
        values = {name: correlated(real, value, random).tolist() for name, value in by_method.items()}
        scores = {"weights": values, "predictions": values, "real_weights": real.tolist()}
        rows.append(fields(cell) | scores | {"real_predictions": real.tolist(), "prediction_error": 0.1})
    return table_of(RETRAINING, rows, cells)


def toys_table(**change):
    wanted = {"exact": 1e-12, "fisher": 1e-12, "steady_state": 0.01, "information": 0.5} | change
    rows, cells = [], PROFILE.cells(TOYS)
    for cell in cells:
        numbers = {
            "exact": dict.fromkeys(("weight_error", "prediction_error", "residual_error"), wanted["exact"]),
            "fisher": {"error": wanted["fisher"]},
            "steady_state": {
                "error": wanted["steady_state"] * cell.parameter / 0.02, "theory": [1.0] * 9, "simulated": [1.1] * 9,
            },
            "bound": {
                "train_error": [0.1 + 0.001 * cell.seed] * len(toys.SIGMAS), "test_error": [0.2] * len(toys.SIGMAS),
                "mean_information": [wanted["information"] / sigma**2 for sigma in toys.SIGMAS],
            },
        }[cell.toy]  # fmt: skip
        rows.append(fields(cell) | numbers)
    return table_of(TOYS, rows, cells)


def verdict(name, table):
    return decide(BY_NAME[name], table).verdict


ON_SEEDS = [
    ("paper-network-agrees", {"1024": 0.85}),
    ("wide-networks-agree", {"512": 0.85}),
    ("narrow-networks-do-not", {"64": 0.95}),
    ("horizon-matters", {"to the end": 0.995}),
    ("better-than-influence", {"influence": 0.995}),
    ("regularization-helps", {"ridge": -0.03}),
]


@pytest.mark.parametrize(("name", "change"), ON_SEEDS)
def test_a_rule_on_seeds_follows_the_correlations(name, change):
    assert verdict(name, retraining_table()) == Verdict.REPRODUCED
    assert verdict(name, retraining_table(**change)) == Verdict.NOT_REPRODUCED


ON_ONE_RUN = [("pretraining-helps", {"pretrained": 0.05})]


@pytest.mark.parametrize(("name", "change"), ON_ONE_RUN)
def test_a_rule_on_one_run_is_at_best_partly_reproduced(name, change):
    assert verdict(name, retraining_table()) == Verdict.PARTLY
    assert verdict(name, retraining_table(**change)) == Verdict.NOT_REPRODUCED


ON_TOYS = [
    ("closed-form-is-exact", {"exact": 1e-7}),
    ("fisher-identity", {"fisher": 1e-7}),
    ("steady-state", {"steady_state": 0.06}),
    ("bound-holds", {"information": 0.005}),
]


@pytest.mark.parametrize(("name", "change"), ON_TOYS)
def test_a_rule_on_toys_follows_the_errors(name, change):
    assert verdict(name, toys_table()) == Verdict.REPRODUCED
    assert verdict(name, toys_table(**change)) == Verdict.NOT_REPRODUCED


def test_every_claim_of_these_tables_is_tested_here():
    named = {name for name, claim in BY_NAME.items() if claim.table in (RETRAINING, TOYS)}
    assert named == {name for name, _ in ON_SEEDS + ON_ONE_RUN + ON_TOYS}


def test_an_unfinished_panel_is_not_run():
    less = retraining_table(without="ridge")
    assert verdict("regularization-helps", less) == Verdict.NOT_RUN
    with pytest.raises(NotRun, match=f"panel ridge: 0 of {len(PROFILE.panels[RETRAINING]['ridge'].cells)}"):
        results.panel(less, "ridge")


def test_correlations_are_those_of_the_rows():
    rows = results.panel(retraining_table(), "width")
    table = results.agreement(rows)
    assert len(table) == len(rows) * 2 * len(METHODS)
    one = table[(table["width"] == 512) & (table["seed"] == 2) & (table["method"] == "linearized")]
    np.testing.assert_allclose(one["pearson"], 0.992, atol=1e-9)
    best = results.best_influence(table)
    np.testing.assert_allclose(best["pearson"], 0.8, atol=1e-9)  # not the weaker damping


def test_beside_the_paper_stands_the_same_network():
    lines = results.beside_the_paper(retraining_table())
    assert lines["network"].value_counts().to_dict() == {
        "fully connected": 4, "convolutional": 2, "convolutional, pretrained": 2,
    }  # fmt: skip
    np.testing.assert_allclose(lines["closed form, here"], [0.9905] * 4 + [0.1] * 2 + [0.9] * 2, atol=1e-9)
    np.testing.assert_allclose(lines["influence, here"], 0.8, atol=1e-9)
    assert lines["closed form, paper"].iloc[0] == 0.987


def test_a_constant_score_has_no_correlation():
    rows = results.panel(retraining_table(), "width").head(1)
    rows.iloc[0]["weights"]["linearized"][:] = [1.0] * len(rows.iloc[0]["real_weights"])
    table = results.agreement(rows)
    assert table[(table["target"] == "weights") & (table["method"] == "linearized")]["pearson"].isna().all()


def test_the_bound_is_that_of_a_loss_between_zero_and_one():
    rows = results.bound(toys_table(information=0.5))
    np.testing.assert_allclose(rows["bound"], 0.5 / rows["sigma"])
    np.testing.assert_allclose(rows["gap"], 0.1 - 0.001 * (len(PROFILE.panels[TOYS]["bound"].cells) - 1) / 2)
    assert (rows["gap_low"] < rows["gap"]).all()


def test_force_in_weight_space_solves_the_problem_it_names():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 1, 9, dtype=torch.float64, generator=generator)
    wanted = torch.randn(6, 1, dtype=torch.float64, generator=generator)
    J, r = rows[:, 0], wanted[:, 0]

    def slope(w, ridge):
        return J.T @ (J @ w - r) + ridge * w

    for ridge in (0.0, 2.0):
        assert slope(toys.force(rows, wanted, ridge=ridge), ridge).abs().max() < 1e-12
    small, steps = 1e-3, 1000
    flow = toys.force(rows, wanted, ridge=2.0, time=small * steps)
    stepwise = toys.force(rows, wanted, ridge=2.0, learning_rate=small, steps=steps)
    assert (flow - stepwise).norm() < 1e-2 * flow.norm()
    shorter = toys.force(rows, wanted, ridge=2.0, time=1e-7)
    torch.testing.assert_close(shorter, -1e-7 * slope(torch.zeros(9, dtype=torch.float64), 2.0), rtol=1e-4, atol=0)


@pytest.mark.parametrize("toy", ["exact", "fisher"])
def test_small_toys_agree(toy):
    cells = CATALOGUE.load_profile("smoke").panels[TOYS][toy].cells
    worst = [max(v for k, v in toys.measure(cell).items() if k.endswith("error")) for cell in cells[:2] + cells[-1:]]
    assert max(worst) < 1e-8


def test_tables_are_in_the_catalogue():
    assert CATALOGUE.tables[RETRAINING] is retraining
    assert CATALOGUE.tables[TOYS] is toys


def test_peers_are_means_over_seeds_in_the_stored_order():
    line = {"package": "ours", "version": "1", "method": "exact", "needs": "nothing", "spearman": 0.5}
    rows = [line | {"seed": seed, "pearson": 0.9 + 0.02 * seed, "seconds": 2.0} for seed in (0, 1, 2)]
    rows += [line | {"package": "theirs", "version": "2", "seed": 0, "pearson": 0.1, "seconds": 0.25}]
    shown = results.peers(Table("peers", "quick", pd.DataFrame(rows)))
    assert shown["package"].tolist() == ["ours 1", "theirs 2"]
    assert shown["Pearson"].tolist() == ["0.920 ±\xa00.050", "0.100"]
    assert shown["seconds"].tolist() == ["2.00 ±\xa00.00", "0.25"]
