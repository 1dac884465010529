"""Applications of sample information: tiny cells of each experiment, and each rule on made-up tables."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from infocap import attribution, data
from infocap.experiments.catalogue import CLAIMS
from infocap.experiments.profiles import load_profile
from infocap.experiments.sample_information import (
    detection,
    detection_figures,
    summarization,
    summarization_figures,
)
from infocap.study.cells import fields
from infocap.study.claims import Verdict, decide
from infocap.study.tables import Table

SMOKE, QUICK = load_profile("smoke"), load_profile("quick")
BY_NAME = {claim.name.removeprefix("sample-information/"): claim for claim in CLAIMS}


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Data sets are read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", cache(data.load))
        yield


@cache
def smoke(module):
    """The first cell of each experiment, or panel, in the smoke profile and what it measures."""
    cells = {fields(cell).get("experiment", fields(cell).get("panel")): cell for cell in module.cells(SMOKE)[::-1]}
    return [(cell, module.measure(cell)) for cell in reversed(cells.values())]


def first(experiment):
    return next(pair for pair in smoke(detection) if pair[0].experiment == experiment)


def smoke_table(module):
    arrays, rows = [], []
    for cell, result in smoke(module):
        arrays.append({name: value.numpy() for name, value in result.items() if isinstance(value, torch.Tensor)})
        rows.append(fields(cell) | {name: value for name, value in result.items() if name not in arrays[-1]})
    return Table(module.__name__, "smoke", pd.DataFrame(rows), {}, arrays)


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
    rows = [world(cell, **change) for cell in cells or detection.cells(QUICK)]
    return Table("sample_information/detection", "quick", pd.DataFrame(rows))


def summaries(iterative=0.9, bottom=0.6, random=0.85):
    """Accuracies of the three orders with half or more removed; before that all are alike."""
    rows = []
    for cell in summarization.cells(QUICK):
        late = np.array(cell.removed) >= 0.5
        orders = {"iterative": iterative, "bottom": bottom, "random": random}
        curves = {name: np.where(late, end + 0.001 * cell.seed, 0.95) for name, end in orders.items()}
        rows.append(fields(cell) | {name: curve.tolist() for name, curve in curves.items()})
    return Table("sample_information/summarization", "quick", pd.DataFrame(rows))


def verdict(name, table):
    return decide(BY_NAME[name], table, QUICK).verdict


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
    assert verdict(name, table(detection.cells(QUICK)[:1])) == Verdict.NOT_RUN


def test_every_rule_is_here():
    assert {name for name, claim in BY_NAME.items() if claim.table == "sample_information/detection"} == set(RULES)


def test_tasks_that_disagree_make_a_claim_hold_partly():
    frame = table().frame
    failing = frame["classes"].map(list).isin([[2, 4, 0]])
    frame.loc[failing, "ratio"] = 0.5
    decision = decide(BY_NAME["rare-subclass"], Table("detection", "quick", frame), QUICK)
    assert decision.verdict == Verdict.PARTLY
    assert "pullovers, coats, T-shirts, log ratio: -0.693" in decision.evidence
    assert decision.evidence.endswith("; each must exceed 0") and decision.evidence.count("must") == 1


def test_the_rules_of_summarization():
    assert verdict("iterative-summarization", summaries()) == Verdict.REPRODUCED
    assert verdict("iterative-summarization", summaries(iterative=0.8)) == Verdict.NOT_REPRODUCED
    assert verdict("one-shot-collapses", summaries()) == Verdict.REPRODUCED
    assert verdict("one-shot-collapses", summaries(bottom=0.8)) == Verdict.NOT_REPRODUCED
    few = Table("summarization", "quick", summaries().frame.iloc[1:])
    assert {verdict(name, few) for name in ("iterative-summarization", "one-shot-collapses")} == {Verdict.NOT_RUN}


def test_more_than_80_percent_removed_does_not_count():
    frame = summaries().frame
    frame["iterative"] = [
        [0.1 if share > 0.8 else value for share, value in zip(row["removed"], row["iterative"], strict=True)]
        for row in frame.to_dict("records")
    ]
    assert verdict("iterative-summarization", Table("summarization", "quick", frame)) == Verdict.REPRODUCED


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
    task = detection.two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = detection.problem(cell, task.inputs, result["targets"], task.eval_inputs)
    torch.testing.assert_close(result["grand"], attribution.grand(this.model, this.inputs, this.targets))
    kernel, _ = this.kernels()
    dual = torch.linalg.solve(kernel + cell.ridge * torch.eye(cell.n), this.residual())
    torch.testing.assert_close(result["training_residual"], (this.residual() - kernel @ dual).abs())


def test_the_top_tenth_of_equal_values_holds_a_tenth():
    assert detection.top_share(torch.ones(50)) == pytest.approx(0.1)
    assert detection.top_share(torch.tensor([0.0] * 9 + [3.0])) == 1.0


def test_shifts_move_images_by_a_pixel_at_most():
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 1
    moved = detection.shifted(image.repeat(200, 1, 1, 1), torch.Generator().manual_seed(0))
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
    rows = detection.not_run(QUICK)
    assert {row["task"] for row in rows} == {"cats against dogs", "iCassava", "SVHN beside MNIST", "pets against deer"}
    tasks = SMOKE.sample_information.detection.subclass.tasks
    cifar = tasks[0].model_copy(update={"data": "cifar10"})
    panels = SMOKE.sample_information.detection
    panels = panels.model_copy(update={"subclass": panels.subclass.model_copy(update={"tasks": [cifar]})})
    part = SMOKE.sample_information.model_copy(update={"detection": panels})
    held = detection.not_run(SMOKE.model_copy(update={"sample_information": part}))
    assert "pets against deer" not in {row["task"] for row in held}


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
    task = summarization.two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = detection.problem(cell, task.inputs, task.targets, task.eval_inputs)
    left = result["f_si"].argsort()[cell.n // 2 :]
    inputs, residual = this.inputs[left], this.residual()[left]
    regular = detection.ntk(this.model, inputs)[:, 0, :, 0] + cell.ridge * torch.eye(len(left))
    cross = detection.ntk(this.model, task.test_inputs.double(), inputs)[:, 0, :, 0]
    outputs = detection.predict(this.model, task.test_inputs.double())[:, 0] + cross @ torch.linalg.solve(
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


@pytest.mark.parametrize(
    ("name", "panels"),
    [("tails", 13), ("mislabelled", 1), ("adversarial", 1), ("flipped", 2), ("ratios", 1), ("coordinates", 2)],
)
def test_figures_of_detection(name, panels):
    check(getattr(detection_figures, name)(smoke_table(detection)), panels)


def test_figure_of_summarization():
    check(summarization_figures.curves(smoke_table(summarization)), 2)


def check(figure, panels):
    figure.canvas.draw()
    assert len(figure.axes) == panels
    assert "profile smoke" in figure.get_supxlabel()
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert not plt.get_fignums()


def test_tails_show_the_least_and_the_most_informative():
    table = smoke_table(detection)
    place = table.frame["experiment"].tolist().index("clean")
    arrays = table.arrays[place]
    order = arrays["f_si_horizon"].argsort()
    images = [axes.images[0].get_array() for axes in detection_figures.tails(table).axes if axes.images]
    for image, example in [(images[0], order[0]), (images[6], order[-1])]:
        stored = data.load(table.frame["data"].iloc[place]).train_inputs[arrays["rows"][example]][0]
        np.testing.assert_array_equal(image, stored.numpy())


def test_areas_put_the_best_score_on_top():
    rows = detection_figures.rows_of(smoke_table(detection), "adversarial")
    rows["auc_loss"], rows["auc_f_si_trained"], rows["auc_f_si_initial"] = 0.6, 0.9, 0.7
    labels = detection_figures.areas(rows, detection_figures.ATTACKED).axes[0].get_yticklabels()
    assert labels[-1].get_text() == detection_figures.ATTACKED["auc_f_si_trained"]
    plt.close("all")
