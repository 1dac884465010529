"""The synthesis: toys against sums over all outcomes, one cell against its parts, rules on made-up tables."""

import math
from collections import defaultdict
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from infocap import networks
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.synthesis import claims, figures, measures, results, toys
from infocap.study.book import BookTable
from infocap.study.claims import Verdict, claims_of, decide
from infocap.study.profiles import ProfileError
from infocap.study.sweep import SweepError
from infocap.study.tables import NotRun, Table

QUICK, SMOKE = CATALOGUE.load_profile("quick"), CATALOGUE.load_profile("smoke")
MEASURES, TOYS = "synthesis/measures", "synthesis/toys"
BY_NAME = {claim.name.split("/")[1]: claim for claim in claims_of(claims)}


def panels(profile, name):
    """The rows of each panel, where every cell of the table was run."""
    cells = profile.cells(name)
    return {panel: [cells.index(cell) for cell in held.cells] for panel, held in profile.panels[name].items()}


# The toys


def entropy(outcomes, *parts):
    """Entropy of a function of the outcomes, a list of ``(probability, {name: value})``."""
    law = defaultdict(float)
    for probability, values in outcomes:
        law[tuple(values[part] for part in parts)] += probability
    return -sum(p * math.log(p) for p in law.values() if p > 0)


def information(outcomes, left, right, given=()):
    return (
        entropy(outcomes, *left, *given) + entropy(outcomes, *right, *given)
        - entropy(outcomes, *left, *right, *given) - entropy(outcomes, *given)
    )  # fmt: skip


def probability(z):
    return 0.5 * (0.8 if z // 2 == z % 2 else 0.2)


def predict(w, x):
    return w >> x & 1


@pytest.mark.parametrize("cell", [toys.Cell("gibbs", 2, 2.0), toys.Cell("random", 2, 1.0, 3)], ids=str)
def test_every_information_of_a_toy_is_that_of_all_outcomes(cell):
    learner, shorter, found = toys.law(cell, 2), toys.law(cell, 1), toys.measure(cell)
    sets, gap, sample = [], 0.0, 0.0
    for z1, z2, w in product(range(4), repeat=3):
        p = probability(z1) * probability(z2) * float(learner[z1, z2, w])
        sets.append((p, {"z1": z1, "z2": z2, "x1": z1 // 2, "x2": z2 // 2, "y1": z1 % 2, "y2": z2 % 2, "w": w}))
        risk = sum(probability(z) * (predict(w, z // 2) != z % 2) for z in range(4))
        gap += p * (risk - sum(predict(w, z // 2) != z % 2 for z in (z1, z2)) / 2)
        sample += p * sum(math.log(learner[z1, z2, w] / shorter[other, w]) for other in (z1, z2))
    assert found["gap"] == pytest.approx(gap, abs=1e-12)
    assert found["sample"] == pytest.approx(sample / 2, abs=1e-12)
    expected = {
        "label": information(sets, ["w"], ["y1", "y2"], ["x1", "x2"]),
        "label_unique": information(sets, ["w"], ["y1"], ["x1", "x2", "y2"])
        + information(sets, ["w"], ["y2"], ["x1", "x2", "y1"]),
        "single": information(sets, ["w"], ["z1"]) + information(sets, ["w"], ["z2"]),
        "total": information(sets, ["w"], ["z1", "z2"]),
        "unique": information(sets, ["w"], ["z1"], ["z2"]) + information(sets, ["w"], ["z2"], ["z1"]),
    }
    halves = []
    for table, coins, w in product(product(range(4), repeat=4), product(range(2), repeat=2), range(4)):
        z1, z2 = table[coins[0]], table[2 + coins[1]]
        p = math.prod(map(probability, table)) / 4 * float(learner[z1, z2, w])
        seen = [predict(w, z // 2) for z in table]
        values = {"t": table, "j1": coins[0], "j2": coins[1], "w": w, "f1": tuple(seen[:2]), "f2": tuple(seen[2:])}
        halves.append((p, values))
    expected |= {
        "cmi": information(halves, ["w"], ["j1", "j2"], ["t"]),
        "row": information(halves, ["w"], ["j1"], ["t"]) + information(halves, ["w"], ["j2"], ["t"]),
        "row_unique": information(halves, ["w"], ["j1"], ["t", "j2"]) + information(halves, ["w"], ["j2"], ["t", "j1"]),
        "f_cmi": information(halves, ["f1", "f2"], ["j1", "j2"], ["t"]),
        "row_f": information(halves, ["f1"], ["j1"], ["t"]) + information(halves, ["f2"], ["j2"], ["t"]),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value / 2, abs=1e-12), name
    bound = 0.0
    for table in product(range(4), repeat=4):
        own = [(p, values) for p, values in halves if values["t"] == table]
        mass = sum(p for p, _ in own)
        own = [(p / mass, values) for p, values in own]
        for f, j in (("f1", "j1"), ("f2", "j2")):
            bound += mass * math.sqrt(2 * max(0.0, information(own, [f], [j]))) / 2
    assert found["bound"] == pytest.approx(bound, abs=1e-6)  # roots of rounding errors
    assert found["gap"] <= found["bound"]


def test_a_learner_of_strength_0_learns_nothing():
    found = toys.measure(toys.Cell("gibbs", 3, 0.0))
    assert all(abs(value) < 1e-6 for value in found.values())  # the bound is a root


# The cells


@pytest.fixture(scope="module")
def measured():
    cells = SMOKE.cells(MEASURES)
    outcomes = [measures.measure(cell) for cell in cells]
    arrays = [{k: v.numpy() for k, v in one.items() if isinstance(v, torch.Tensor)} for one in outcomes]
    lines = [
        asdict(cell) | {"identity_error": one["identity_error"]} for cell, one in zip(cells, outcomes, strict=True)
    ]
    held = SMOKE.panels[MEASURES]
    return BookTable(
        MEASURES, "smoke", pd.DataFrame(lines), {}, arrays, panels(SMOKE, MEASURES), module=measures, recipes=held
    )


def test_a_cell_is_what_its_parts_say(measured):
    cell = SMOKE.cells(MEASURES)[0]
    arrays = measured.arrays[0]
    inputs, labels = measures.supersample(cell)
    assert cell.looked == 4
    looked = [0, 1, cell.draws // 2, cell.draws // 2 + 1]
    subsets = measures.members(torch.from_numpy(arrays["selectors"]).long())
    of_kernel, _ = measures.linearized(cell, inputs, labels, subsets[looked])
    for example in range(2 * cell.n):
        values = [float(of_kernel["f_si"][d, (subsets[s] == example).nonzero()[0, 0]])
                  for d, s in enumerate(looked) if (subsets[s] == example).any()]  # fmt: skip
        assert len(values) == cell.looked // 2
        assert arrays["f_si"].ravel()[example] == pytest.approx(np.mean(values), rel=1e-9)
    one = measures.train(cell, inputs, labels, subsets[:1], ["prediction"], last=True)["prediction"][-1, 0]
    assert np.array_equal(arrays["predictions"][0].ravel(), one.numpy())


def test_held_out_halves_are_others_and_come_with_their_complements(measured):
    for arrays in measured.arrays:
        assert not np.array_equal(arrays["selectors"], arrays["held_out_selectors"])
        for name in ("selectors", "held_out_selectors"):
            assert (arrays[name].mean(0) == 0.5).all()


def test_shares_of_the_gap_sum_to_the_gap(measured):
    for place in measured.frame.index:
        run = results.runs(measured, place, held_out=True)
        gap = results.examples(measured, place)["gap"].mean()
        assert gap == pytest.approx(float(run.test_error - run.train_error), abs=1e-12)
        rows = results.rows(measured, place)
        assert len(rows) == run.selectors.shape[2]


def test_only_labels_differ_between_the_panels(measured):
    clean, noisy = (replace(cell, panel="") for cell in (SMOKE.cells(MEASURES)[0], SMOKE.cells(MEASURES)[2]))
    assert replace(clean, label_noise=noisy.label_noise) == noisy
    assert torch.equal(measures.supersample(clean)[0], measures.supersample(noisy)[0])
    assert not results.examples(measured, 0)["wrong"].any()


def test_the_portraits_draw_and_the_tables_have_all_measures(measured):
    assert any(axes.has_data() for axes in figures.portraits(measured).axes)
    assert set(results.correlations(measured, "clean").columns) == set(results.NAMES)
    assert len(results.settings(measured)) == 2


def linear(image, num_outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(image), num_outputs))


@pytest.fixture
def folder(tmp_path):
    """Colour images of three classes, of which the second is brighter."""
    rng = np.random.default_rng(0)
    for part, name in product(("train", "test"), "abc"):
        (tmp_path / part / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(100, 150, size=(20, 20, 3), dtype=np.uint8) + 100 * (name == "b")
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / name / f"{number}.png")
    return f"folder:{tmp_path}"


def test_a_readers_network_and_images_are_measured_as_those_of_the_book(measured, folder):
    mine = measured.also_table(network=linear, data=folder, panel="clean", classes=(0, 1), jobs=1)
    assert mine.frame["network"].tolist() == ["linear"] * 2 and mine.frame["seed"].tolist() == [0, 1]
    cell = replace(measured.cells("clean")[0], network="linear", data=folder, classes=(0, 1))
    with networks.NETWORKS.lent("linear", linear):
        alone = measures.measure(cell)
    assert np.array_equal(mine.arrays[0]["f_si"], alone["f_si"].numpy())
    assert results.examples(mine, 0)["label"].nunique() == 2
    assert list(results.correlations_with(mine, "clean").index) == [0, 1]
    assert measures.pictures(cell).shape == (cell.n, 2, 3, 20, 20)


def test_classes_that_own_images_lack_are_named(measured, folder):
    with pytest.raises(SweepError, match=r"classes: got 4, of which .* has no image; accepted: ids from 0 to 2"):
        measured.also(data=folder, panel="clean", jobs=1)


def test_a_cell_names_the_file_of_its_network_only():
    cell = SMOKE.cells(MEASURES)[0]
    assert cell.code() == ["infocap.networks.mlp"]
    assert replace(cell, network="cnn").code() == [networks.NETWORKS.module("cnn")] != cell.code()


def test_panels_that_were_not_run_say_so(measured):
    part = replace(measured, frame=measured.frame.iloc[:1], arrays=measured.arrays[:1], panels={"clean": [0, None]})
    with pytest.raises(NotRun, match="panel clean: 1 of 2 cells were run"):
        results.correlations(part, "clean")


@pytest.mark.parametrize("setting", ["looked=3", "looked=10", "draws=5"])
def test_halves_that_lack_their_complements_are_refused(setting):
    with pytest.raises(ProfileError, match=r"synthesis.measures.clean.*looked, draws: got"):
        CATALOGUE.load_profile("smoke", [f"synthesis.measures.clean.{setting}"])


# The rules


def made_up(*, noise=0.0, f_si=0.0, loss=0.5, limit=1.0, identity=1e-9, concentrated=False):
    """All measures equal a difficulty plus noise; whether a prediction is wrong follows the difficulty."""
    lines, arrays = [], []
    for cell in QUICK.cells(MEASURES):
        rng = np.random.default_rng([cell.seed, cell.label_noise > 0])
        n = cell.n
        hard = rng.uniform(size=(n, 2)) if not concentrated else (rng.uniform(size=(n, 2)) < 0.05).astype(float)
        wrong = hard > 1 - cell.label_noise
        one = {"labels": np.zeros((n, 2), np.uint8), "clean": wrong.astype(np.uint8)}
        for prefix in ("", "held_out_"):
            half = rng.integers(2, size=(cell.draws // 2, n))
            selectors = np.concatenate([half, 1 - half])
            trained = np.stack([1 - selectors, selectors], -1).astype(bool)
            missed = rng.uniform(size=trained.shape) < hard
            one[f"{prefix}selectors"] = selectors.astype(np.uint8)
            one[f"{prefix}predictions"] = (missed & ~trained).astype(np.uint8)
        spread = {"f_si": f_si, "loss": loss, "margin": loss, "forgetting": loss, "limit": limit - 1}
        for name in ("limit", "si", "f_si", "complexity", "loss", "margin", "forgetting"):
            one[name] = hard + (noise + spread.get(name, 0.3)) * rng.normal(size=(n, 2))
        lines.append(asdict(cell) | {"identity_error": identity})
        arrays.append(one)
    return Table(MEASURES, "quick", pd.DataFrame(lines), arrays=arrays, panels=panels(QUICK, MEASURES))


def verdict(name, table):
    return decide(BY_NAME[name], table).verdict


NOT = Verdict.NOT_REPRODUCED
CASES = [
    ("information-is-complexity", {"identity": 1e-9}, {"identity": 1e-3}, NOT),
    ("measures-agree", {}, {"noise": 5.0}, NOT),
    ("measures-predict-the-gap", {}, {"noise": 5.0}, Verdict.PARTLY),  # f-CMI is not made up of noise
    ("information-beats-baselines", {}, {"f_si": 5.0, "loss": 0.0}, NOT),
    ("limit-finds-wrong-labels", {"f_si": 0.3}, {"limit": 5.0}, NOT),
    ("few-carry-the-gap", {"concentrated": True}, {}, NOT),
    ("predictions-say-as-much", {"concentrated": True}, {}, NOT),
]


@pytest.mark.parametrize(("name", "holds", "fails", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_tells_what_holds_from_what_does_not(name, holds, fails, wanted):
    assert verdict(name, made_up(**holds)) == Verdict.REPRODUCED
    assert verdict(name, made_up(**fails)) == wanted


def test_rows_are_certified_where_both_halves_are_equally_frequent():
    table = made_up()
    assert verdict("rows-are-certified", table) == Verdict.REPRODUCED
    for one in table.arrays:  # column 1 of row 0 is right when trained on, which is rare: little information
        one["selectors"][:, 0] = 0
        one["selectors"][:2, 0] = 1
        one["predictions"][:, 0] = [0, 1]
        one["predictions"][:2, 0] = 0
    assert verdict("rows-are-certified", table) == Verdict.NOT_REPRODUCED


def chain_table(**changes):
    lines = [asdict(cell) | toys.measure(cell) for cell in SMOKE.cells(TOYS)]
    return Table(TOYS, "smoke", pd.DataFrame(lines).assign(**changes))


@pytest.mark.parametrize("name", ["label", "unique", "row_f", "cmi", "row_unique"])
def test_a_broken_link_breaks_the_chain(name):
    assert verdict("one-chain", chain_table()) == Verdict.REPRODUCED
    wrong = 10.0 if name in {smaller for smaller, _ in results.CHAIN} else -1.0
    assert verdict("one-chain", chain_table(**{name: wrong})) == Verdict.NOT_REPRODUCED


def test_detection_is_the_area_under_the_roc_curve():
    table = made_up()
    frame = results.examples(table, 5)
    assert results.detection(table)["limit"].iloc[0] == roc_auc_score(frame["wrong"], frame["limit"])
