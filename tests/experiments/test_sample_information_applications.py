"""Applications of sample information: tiny cells of each experiment, and each rule on made-up tables."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from infocap import attribution, data, networks
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.sample_information import (
    detection,
    dynamics,
    problem,
    results,
    retraining,
    summarization,
    tasks,
)
from infocap.experiments.sample_information.applications.sources import shifted
from infocap.experiments.sample_information.methods import METHODS
from infocap.study.book import BookTable
from infocap.study.cells import fields, key
from infocap.study.claims import Verdict, decide
from infocap.study.sweep import SweepError
from infocap.study.tables import Table, read

SMOKE, QUICK = CATALOGUE.load_profile("smoke"), CATALOGUE.load_profile("quick")
BY_NAME = {claim.name.removeprefix("sample-information/"): claim for claim in CATALOGUE.claims}
DETECTION, SUMMARIZATION = "sample_information/detection", "sample_information/summarization"


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Data sets are read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", cache(data.load))
        yield


@cache
def smoke(module):
    """The first cell of each experiment, or panel, in the smoke profile and what it measures."""
    panels = SMOKE.panels[DETECTION if module is detection else SUMMARIZATION]
    return [(panel.cells[0], module.measure(panel.cells[0])) for panel in panels.values()]


def first(experiment):
    return next(pair for pair in smoke(detection) if pair[0].experiment == experiment)


def smoke_table(module):
    arrays, rows = [], []
    for cell, result in smoke(module):
        arrays.append({name: value.numpy() for name, value in result.items() if isinstance(value, torch.Tensor)})
        rows.append(fields(cell) | {name: value for name, value in result.items() if name not in arrays[-1]})
    return Table(module.__name__, "smoke", pd.DataFrame(rows), {}, arrays)


def table_of(name, rows, cells):
    """Made-up rows for some cells of the profile; a panel lacks those that are left out."""
    panels = {
        panel: [cells.index(cell) if cell in cells else None for cell in held.cells]
        for panel, held in QUICK.panels[name].items()
    }
    return Table(name, "quick", pd.DataFrame(rows), panels=panels)


def world(cell, **change):
    """A world in which every claim of the table is true; ``change`` maps a part of it to something else."""
    good = {
        "hard": 0.9, "easy": 0.97, "residual": 0.01, "rare": 3.0, "diverse": 4.0, "spearman": 0.6, "adversarial": 0.8,
        "loss": 0.6, "ranking": 0.99,
    } | change  # fmt: skip
    jitter = 0.001 * cell.seed
    area = (good["easy"] if cell.classes == (5, 7) else good["hard"]) + jitter
    experiments = {
        "mislabelled": {"auc_f_si": area, "auc_left_out_residual": area + good["residual"] - jitter},
        "clean": {"spearman_horizon": good["spearman"] + jitter},
        "subclass": {"ratio": good["rare"] + jitter},
        "sources": {"ratio": good["diverse"] + jitter},
        "adversarial": {"auc_f_si_trained": good["adversarial"] + jitter, "auc_loss": good["loss"]},
        "coordinates": {"spearman": [0.5, good["ranking"] - jitter, 1.0]},
    }
    return fields(cell) | experiments[cell.experiment]


def table(cells=None, **change):
    cells = cells or QUICK.cells(DETECTION)
    return table_of(DETECTION, [world(cell, **change) for cell in cells], cells)


def summaries(iterative=0.9, bottom=0.6, random=0.85, without=0):
    """Accuracies of the three orders with half or more removed; before that all are alike."""
    rows, cells = [], QUICK.cells(SUMMARIZATION)[without:]
    for cell in cells:
        late = np.array(cell.removed) >= 0.5
        orders = {"iterative": iterative, "bottom": bottom, "random": random}
        curves = {name: np.where(late, end + 0.001 * cell.seed, 0.95) for name, end in orders.items()}
        rows.append(fields(cell) | {name: curve.tolist() for name, curve in curves.items()})
    return table_of(SUMMARIZATION, rows, cells)


def verdict(name, table):
    return decide(BY_NAME[name], table).verdict


RULES = {
    "finds-mislabelled-hard": {"hard": 0.8},
    "finds-mislabelled-easy": {"easy": 0.9},
    "residuals-do-as-well": {"residual": -0.05},
    "rare-subclass": {"rare": 0.9},
    "diverse-source": {"diverse": 0.5},
    "si-differs": {"spearman": 0.95},
    "adversarial": {"adversarial": 0.4},
    "adversarial-beats-loss": {"loss": 0.9},
    "coordinates": {"ranking": 0.8},
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_decides_its_statement(name):
    assert verdict(name, table()) == Verdict.REPRODUCED
    assert verdict(name, table(**RULES[name])) == Verdict.NOT_REPRODUCED
    assert verdict(name, table(QUICK.cells(DETECTION)[:1])) == Verdict.NOT_RUN


def test_every_rule_is_here():
    assert {name for name, claim in BY_NAME.items() if claim.table == "sample_information/detection"} == set(RULES)


def test_tasks_that_disagree_make_a_claim_hold_partly():
    made_up = table()
    frame = made_up.frame
    failing = frame["classes"].map(list).isin([[2, 4, 0]])
    frame.loc[failing, "ratio"] = 0.5
    decision = decide(BY_NAME["rare-subclass"], made_up)
    assert decision.verdict == Verdict.PARTLY
    assert "pullovers, coats, T-shirts, log ratio: -0.693" in decision.evidence
    assert decision.evidence.endswith("; each must exceed 0") and decision.evidence.count("must") == 1


def test_the_rules_of_summarization():
    assert verdict("iterative-summarization", summaries()) == Verdict.REPRODUCED
    assert verdict("iterative-summarization", summaries(iterative=0.8)) == Verdict.NOT_REPRODUCED
    assert verdict("one-shot-collapses", summaries()) == Verdict.REPRODUCED
    assert verdict("one-shot-collapses", summaries(bottom=0.8)) == Verdict.NOT_REPRODUCED
    few = summaries(without=1)
    assert {verdict(name, few) for name in ("iterative-summarization", "one-shot-collapses")} == {Verdict.NOT_RUN}


def test_more_than_80_percent_removed_does_not_count():
    made_up = summaries()
    frame = made_up.frame
    frame["iterative"] = [
        [0.1 if share > 0.8 else value for share, value in zip(row["removed"], row["iterative"], strict=True)]
        for row in frame.to_dict("records")
    ]
    assert verdict("iterative-summarization", made_up) == Verdict.REPRODUCED


def test_every_experiment_gives_finite_numbers_and_one_array_entry_per_example():
    for cell, result in smoke(detection):
        scalars = [value for value in result.values() if not isinstance(value, torch.Tensor)]
        assert np.isfinite(np.hstack(scalars)).all(), cell
        arrays = [value for value in result.values() if isinstance(value, torch.Tensor)]
        assert len({len(array) for array in arrays}) <= 1
        assert all(torch.isfinite(array).all() for array in arrays)


def test_flipped_labels_are_those_that_differ_from_the_data():
    cell, result = first("mislabelled")
    given = data.load(cell.data).train_labels[result["rows"]] == cell.classes[1]
    assert torch.equal(result["flipped"].bool(), given.float() != result["targets"])
    assert result["flipped"].sum() == round(cell.rate * cell.n)


def test_scores_match_their_definitions():
    cell, result = first("mislabelled")
    assert detection.auc(result["flipped"].double(), result["flipped"].bool()) == 1.0
    task = tasks.two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = problem.problem(cell, task.inputs, result["targets"], task.eval_inputs)
    torch.testing.assert_close(result["grand"], attribution.grand(this.model, this.inputs, this.targets))
    dual = torch.linalg.solve(this.kernel + cell.ridge * torch.eye(cell.n), this.residual)
    torch.testing.assert_close(result["training_residual"], (this.residual - this.kernel @ dual).abs())


def test_the_top_tenth_of_equal_values_holds_a_tenth():
    assert detection.top_share(torch.ones(50)) == pytest.approx(0.1)
    assert detection.top_share(torch.tensor([0.0] * 9 + [3.0])) == 1.0


def test_shifts_move_images_by_a_pixel_at_most():
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 1
    moved = shifted(image.repeat(200, 1, 1, 1), torch.Generator().manual_seed(0))
    assert moved.shape == (200, 1, 5, 5)
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(200))
    places = {tuple(place.tolist()) for place in moved[:, 0].nonzero()[:, 1:]}
    assert places == {(row, column) for row in (1, 2, 3) for column in (1, 2, 3)}


def test_the_parts_of_a_subclass_task():
    cell, result = first("subclass")
    labels = data.load(cell.data).train_labels[result["rows"]]
    assert torch.equal(labels, torch.tensor(cell.classes)[result["kind"]])
    assert result["kind"].bincount().tolist() == [cell.n, cell.rare, cell.n]
    assert len(result["rows"].unique()) == len(result["rows"])


def test_a_twin_leaves_little_of_its_own():
    _, result = first("sources")
    assert result["twin_ratio"] < 0.5 < result["pair_ratio"]


def test_what_the_book_cannot_run_is_said():
    table = smoke_table(detection)
    rows = results.not_run(table)
    assert {row["task"] for row in rows} == {"cats against dogs", "iCassava", "SVHN beside MNIST", "pets against deer"}
    table.frame.loc[table.frame["experiment"] == "subclass", "data"] = "cifar10"
    assert "pets against deer" not in {row["task"] for row in results.not_run(table)}


@pytest.mark.parametrize("panel", ["linearized", "network"])
def test_summaries_of_a_tiny_task(panel):
    cell, result = next(pair for pair in smoke(summarization) if pair[0].panel == panel)
    for order in summarization.ORDERS:
        assert len(result[order]) == len(cell.removed) and all(0 <= share <= 1 for share in result[order])
    assert torch.equal(result["iterative_order"].sort().values, torch.arange(cell.n))
    assert {len(result[name]) for name in ("rows", "targets", "f_si")} == {cell.n}
    if panel == "linearized":
        assert len({result[order][0] for order in summarization.ORDERS}) == 1  # nothing removed yet


def test_accuracy_is_that_of_a_network_solved_on_what_is_left():
    cell, result = smoke(summarization)[0]
    task = tasks.two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = problem.problem(cell, task.inputs, task.targets, task.eval_inputs)
    left = result["f_si"].argsort()[cell.n // 2 :]
    inputs, residual = this.inputs[left], this.residual[left]
    regular = problem.ntk(this.model, inputs)[:, 0, :, 0] + cell.ridge * torch.eye(len(left))
    cross = problem.ntk(this.model, task.test_inputs.double(), inputs)[:, 0, :, 0]
    outputs = problem.predict(this.model, task.test_inputs.double())[:, 0] + cross @ torch.linalg.solve(
        regular, residual
    )
    accuracy = float(((outputs > 0.5) == (task.test_targets > 0.5)).double().mean())
    assert result["bottom"][cell.removed.index(0.5)] == pytest.approx(accuracy, abs=1e-12)


def test_the_iterative_order_scores_what_is_left():
    asked = []

    def middle_first(left):
        asked.append(len(left))
        return (left - left.double().mean()).abs()

    order = summarization.iterative_order(40, middle_first)
    assert asked[:3] == [40, 38, 36] and asked[-1] == 3
    assert set(order[:2].tolist()) == {19, 20} and set(order[-2:].tolist()) <= {0, 1, 38, 39}
    assert torch.equal(order.sort().values, torch.arange(40))
    assert torch.equal(summarization.iterative_order(40, lambda left: left), torch.arange(40))


def test_areas_are_named_by_their_methods_and_the_best_comes_first():
    rows = results.rows_of(smoke_table(detection), "mislabelled")
    long = results.areas(rows)
    assert set(long["score"]) == set(METHODS) and set(long["task"]) == {"pullovers, coats"}
    assert long.set_index("score")["area"]["F-SI, to the end"] == rows["auc_f_si"].iloc[0]
    table = results.areas_by_task(rows.assign(auc_si=1.5), rows.assign(auc_si=None, auc_mine=0.0, auc_f_si=None))
    assert table["score"].tolist()[0] == "SI, to the end" and table["score"].tolist()[-1] == "mine"
    attacked = results.areas(results.rows_of(smoke_table(detection), "adversarial"))
    assert set(attacked["score"]) == {
        "loss, trained", "F-SI, linearized at trained weights", "F-SI, linearized at initial weights",
    }  # fmt: skip


def test_stored_rows_of_the_book_can_be_read():
    stored = read(CATALOGUE.results / "full/sample_information_detection.json")
    rows = results.areas(results.rows_of(stored, "mislabelled"))
    assert set(rows["score"]) == set(METHODS) and rows["area"].between(0, 1).all()


@pytest.fixture
def own_images(tmp_path):
    """Twelve training and four test images of 8 x 8 pixels of each of two classes, in colours."""
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for level, name in enumerate("ab"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = 80 * level + random.integers(0, 120, (8, 8, 3))
                Image.fromarray(pixels.astype("uint8")).save(folder / f"{number}.png")
    return f"folder:{tmp_path}"


def own(table, module):
    """The smoke panels of a table, nothing of which was run."""
    return BookTable(table, "smoke", pd.DataFrame(), module=module, recipes=SMOKE.panels[table])


def distance(cell, problem):
    """How far an image lies from the mean image of its target."""
    means = torch.stack([problem.inputs[problem.targets == target].mean(0) for target in (0, 1)])
    return (problem.inputs - means[problem.targets.long()]).flatten(1).norm(dim=1)


def test_an_own_score_sees_the_panels_images_flips_and_seeds():
    rows = own(DETECTION, detection).also(distance, "mislabelled", jobs=1)
    assert rows["methods"].tolist() == [["distance"]] * len(SMOKE.panels[DETECTION]["mislabelled"].cells)
    cell, result = first("mislabelled")
    task = tasks.two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = problem.problem(cell, task.inputs, result["targets"], task.eval_inputs)
    assert rows["auc_distance"].iloc[0] == detection.auc(distance(cell, this), result["flipped"])
    assert not [column for column in rows if column.startswith("auc_") and column != "auc_distance"]
    assert rows["steps"].tolist() == [cell.steps for cell in SMOKE.panels[DETECTION]["mislabelled"].cells]


def test_one_of_the_books_scores_alone_is_what_it_is_among_all():
    rows = own(DETECTION, detection).also("EL2N at start", "mislabelled", jobs=1)
    assert rows["auc_el2n"].iloc[0] == first("mislabelled")[1]["auc_el2n"] and "auc_f_si" not in rows


@pytest.mark.parametrize(
    ("score", "fault"),
    [
        (lambda cell, problem: problem.residual[1:], r"got \[39\]; accepted: a finite score for each of 40 examples"),
        (lambda cell, problem: problem.residual / 0, "accepted: a finite score"),
    ],
)
def test_a_score_that_is_none_is_refused(score, fault):
    with pytest.raises(SweepError, match=fault):
        own(DETECTION, detection).also(score, "mislabelled", jobs=1)


def test_own_scores_belong_to_flipped_labels():
    with pytest.raises(ValueError, match="accepted: none, but with the experiment 'mislabelled'"):
        own(DETECTION, detection).also(distance, "clean", jobs=1)


def small(image, num_outputs):
    """No hidden layer: linear in its weights."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(torch.Size(image).numel(), num_outputs))


def test_an_own_network_takes_the_place_of_the_books():
    [row, *_] = (
        own(DETECTION, detection).also("GraNd at start", "mislabelled", network=small, jobs=1).to_dict("records")
    )
    assert row["network"] == "small" and row["auc_grand"] != first("mislabelled")[1]["auc_grand"]


def test_own_images_have_their_own_classes_and_channels(own_images):
    settings = {"classes": (0, 1), "n": 12, "m": 8, "jobs": 1, "steps": 0}
    table = own(DETECTION, detection)
    rows = table.also("F-SI, to the end", "mislabelled", data=own_images, **settings)
    assert set(rows["data"]) == {own_images} and rows["auc_f_si"].between(0, 1).all()
    for fault, change in {
        "classes: .* has no class 2; accepted: 0 to 1": {"classes": (2, 4)},
        "n, m: got 300 and 8; accepted: up to 24 images together": {"n": 300},
        "classes: got .*; accepted: two class ids": {"classes": (0, 1, 1)},
    }.items():
        with pytest.raises(SweepError, match=fault):
            table.also("F-SI, to the end", "mislabelled", data=own_images, **settings | change)
    removal = own(SUMMARIZATION, summarization)
    rows = removal.also(panel="network", data=own_images, classes=(0, 1), n=12, m=8, jobs=1)
    assert all(len(values) == len(removal.cells("network")[0].removed) for values in rows["top"])


def test_an_own_shift_stands_beside_real_retraining():
    def gradient(cell, run):
        return (run.targets - run.model(run.inputs)[:, 0]).detach().abs()

    table = own("sample_information/retraining", retraining)
    rows = table.also(gradient, "width", jobs=1)
    found = results.agreement(rows)
    assert set(found["method"]) == {"gradient"} and found["pearson"].between(-1, 1).all()
    cell = table.cells("width")[0]
    assert rows["real_weights"].iloc[0] == retraining.measure(cell)["real_weights"]


def test_a_method_or_an_application_counts_in_its_own_cells_only():
    cells = {cell.experiment: cell for cell in SMOKE.cells(DETECTION)}
    package = "infocap.experiments.sample_information"
    assert f"{package}.applications.sources" in cells["sources"].code()
    assert not [name for name in cells["mislabelled"].code() if "sources" in name]
    assert f"{package}.methods.confidence" in cells["mislabelled"].code()
    assert not [name for name in cells["clean"].code() if ".methods." in name]
    assert len({key(cell) for cell in cells.values()}) == len(cells)


def test_a_network_and_images_of_a_readers_own(own_images):
    cell = replace(SMOKE.cells("sample_information/dynamics")[0], data=own_images, classes=(0, 1), side=2, n=12, m=8)
    asked = []

    def linear(image, num_outputs):
        asked.append((image, num_outputs))
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, num_outputs))

    with networks.NETWORKS.lent("linear", linear):
        result = dynamics.measure(replace(cell, network="linear"))
    assert asked == [((3, 2, 2), 1)]
    # a network that is linear in its weights is its own linearization
    assert result["prediction_error"] == pytest.approx([0] * len(result["prediction_error"]), abs=1e-9)
    assert dynamics.measure(cell)["prediction_error"][-1] > 1e-4
    with pytest.raises(ValueError, match=r"side: got 3 for images of 8 x 8 pixels; accepted: a divisor of both"):
        dynamics.measure(replace(cell, side=3))
    with pytest.raises(ValueError, match=r"classes: 'folder:.*' has no class 4; accepted: 0 to 1"):
        dynamics.measure(replace(cell, classes=(0, 4)))
