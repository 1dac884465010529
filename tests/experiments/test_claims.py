"""Each rule of part 1 decides its statement: made-up tables for which the verdict is known."""

from dataclasses import replace

import pandas as pd
import pytest

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.noisy_labels import results, toys
from infocap.study.cells import fields
from infocap.study.claims import Verdict, decide
from infocap.study.tables import Table

PANELS = CATALOGUE.load_profile("quick").panels["noisy_labels/training"]
BY_NAME = {claim.name.removeprefix("noisy-labels/"): claim for claim in CATALOGUE.claims}


def world(cell, **change):
    """A world in which every claim on networks is true; ``change`` maps a part of it to something else."""
    good = {
        "cross-entropy": 0.40, "noisy": 0.45, "soft penalty": 0.60, "limit": 0.75, "initialized": 0.80, "other": 0.50,
        "pair": 0.80, "clean": 0.82, "clean_limit": 0.83, "lost": 0.02, "stored": 0.01, "memorized": 0.99, "auc": 0.96,
        "peak": 0.05,
    } | change  # fmt: skip
    limit = cell.method.startswith("LIMIT")
    if cell.rate == 0.0:
        final = good["clean_limit"] if limit else good["clean"]
    elif cell.noise == "pair":
        final = good["pair"] if cell.method == "DMI" else 0.6
    elif limit:
        final = good["initialized"] if cell.initialized else good["limit"]
    elif cell.method == "cross-entropy" and cell.noise_std:
        final = good["noisy"]
    else:
        final = good.get(cell.method, good["other"])
    final += 0.001 * cell.data_seed
    lost = good["lost"] if limit else good["peak"]
    return {
        "final_accuracy": final,
        "peak_accuracy": final + lost,
        "final_validation_accuracy": final / 2,
        "noise_entropy": 2.0,
        "memorized_information": 2.0 * (good["stored"] if limit else good["memorized"]) - 1e-3 * cell.data_seed,
        "auc": good["auc"] + 0.001 * cell.data_seed,
    }


def rows_of(panels, measure):
    """A made-up table; a cell that two panels share has one row."""
    cells = list(dict.fromkeys(cell for panel in panels.values() for cell in panel))
    places = {name: [cells.index(cell) for cell in panel] for name, panel in panels.items()}
    return Table("made up", "quick", pd.DataFrame([fields(cell) | measure(cell) for cell in cells]), panels=places)


def table(**change):
    return rows_of({name: panel.cells for name, panel in PANELS.items()}, lambda cell: world(cell, **change))


def verdict(name, table):
    return decide(BY_NAME[name], table).verdict


def without_panels(table):
    return replace(table, panels={})


ON_NETWORKS = {
    "cross-entropy-memorizes": {"memorized": 0.8},
    "limit-stores-little": {"stored": 0.2},
    "limit-keeps-accuracy": {"limit": 0.55},
    "limit-peaks-higher": {"peak": 0.5},
    "noise-is-not-enough": {"noisy": 0.6},
    "prediction-beats-penalty": {"soft penalty": 0.76},
    "finds-mislabelled": {"auc": 0.9},
    "pair-noise-is-hard": {"pair": 0.5},
    "clean-labels-lose-nothing": {"clean_limit": 0.8},
    "initialization-helps": {"initialized": 0.7},
    "small-and-noisy-holds": {"lost": 0.2},
}


def test_every_claim_on_networks_is_here():
    assert {name for name, claim in BY_NAME.items() if claim.table == "noisy_labels/training"} == set(ON_NETWORKS)
    assert all(claim.table in CATALOGUE.tables and claim.rule.__doc__ for claim in CATALOGUE.claims)


@pytest.mark.parametrize("name", ON_NETWORKS)
def test_a_rule_decides_its_statement(name):
    assert verdict(name, table()) == Verdict.REPRODUCED
    assert verdict(name, table(**ON_NETWORKS[name])) == Verdict.NOT_REPRODUCED
    assert verdict(name, without_panels(table())) == Verdict.NOT_RUN


def test_noisy_gradients_lose_nothing_where_limit_gains_nothing():
    assert verdict("noise-is-not-enough", table(limit=0.35, noisy=0.1)) == Verdict.NOT_REPRODUCED


def test_the_choice_looks_at_validation_only():
    """A variant that is better on test data and worse on noisy validation labels is not chosen."""
    made_up = table()
    lucky = (made_up.frame["method"] == "soft penalty") & (made_up.frame["lam"] == 0.1)
    made_up.frame.loc[lucky, ["final_accuracy", "final_validation_accuracy"]] = [0.99, 0.1]
    assert verdict("prediction-beats-penalty", made_up) == Verdict.REPRODUCED


@pytest.fixture(scope="module")
def exact():
    return rows_of(toys.PANELS, toys.measure)


@pytest.mark.parametrize("name, column", [("fano-toys", "expected_errors"), ("generalization-toys", "gap_bound")])
def test_the_exact_claims(name, column, exact):
    assert verdict(name, exact) == Verdict.REPRODUCED
    broken = exact.frame.assign(**{column: exact.frame[column] - 1e-3})
    assert verdict(name, replace(exact, frame=broken)) == Verdict.NOT_REPRODUCED
    lacking = {panel: [*places[1:], None] for panel, places in exact.panels.items()}
    assert verdict(name, replace(exact, panels=lacking)) == Verdict.NOT_RUN


def test_the_main_setting_is_the_middle_size_at_rate_one_half():
    rows = results.main(table())
    assert set(rows["rate"]) == {0.5} and rows["n"].nunique() == 1
