"""The training table of part 1 on tiny cells: all methods run, nothing leaks, compared runs share data."""

import json
import math
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from infocap import data
from infocap.experiments.augmentation import flip_and_crop
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.noisy_labels import results, training
from infocap.experiments.noisy_labels.methods import METHODS
from infocap.experiments.noisy_labels.training import PAIRS, Cell, make_split, measure
from infocap.experiments.streams import stream
from infocap.label_noise import limit_losses, mislabel_score
from infocap.networks.pairs import WithAuxiliary
from infocap.study.tables import NotRun, Table

CELL = Cell(
    data="fashion-mnist", network="mlp", widths=(16,), n=160, test_size=300, noise="uniform", rate=0.5, epochs=2,
    batch_size=32, augment=False, method="cross-entropy", beta=3.0, lam=0.01, noise_std=0.0, noise_kind="gaussian",
    learning_rate=1e-3, weight_decay=0.0, dropout=0.0, warm_up=0, initialized=False,
    data_seed=0, noise_seed=0, init_seed=0, order_seed=0, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Data sets are read once, with a few test images: accuracy there is no concern of these tests."""
    original = data.load

    @cache
    def load(name):
        full = original(name)
        return replace(full, test_inputs=full.test_inputs[:300], test_labels=full.test_labels[:300])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", load)
        yield


@cache
def row(**change):
    return measure(replace(CELL, **change))


ARRAYS = {"rows": 160, "noisy_labels": 160, "clean_labels": 160, "score": 160, "score_selected": 160}
CURVES = {
    "epoch", "train_loss", "train_error", "memorized_fraction", "recovered_fraction", "validation_accuracy",
    "test_accuracy", "auc", "precision_at_100",
}  # fmt: skip
SHARES = CURVES - {"epoch", "train_loss"} | {"final_accuracy", "selected_accuracy", "peak_accuracy", "realized_rate"}


def check(result, epochs=(1, 2)):
    for name, length in ARRAYS.items():
        assert result[name].shape == (length,) and bool(torch.isfinite(result[name]).all())
    assert set(result["history"]) == CURVES
    assert all(len(curve) == len(epochs) for curve in result["history"].values())
    assert result["history"]["epoch"] == list(epochs)
    scalars = {name: value for name, value in result.items() if name not in ARRAYS}
    assert json.loads(json.dumps(scalars, allow_nan=False)) == scalars
    assert all(math.isfinite(value) for name, value in scalars.items() if name != "history")
    for name in SHARES & set(scalars):
        assert 0 <= scalars[name] <= 1
    history = result["history"]
    assert result["final_accuracy"] == history["test_accuracy"][-1]
    assert result["peak_accuracy"] == max(history["test_accuracy"])
    best = int(np.argmax(history["validation_accuracy"]))
    assert result["selected_epoch"] == epochs[best]
    assert result["selected_accuracy"] == history["test_accuracy"][best]
    assert result["auc_selected"] == history["auc"][best]
    assert result["noise_entropy"] == pytest.approx(math.log(2) + 0.5 * math.log(9))  # h(1/2) + 1/2 ln 9


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_runs(method):
    check(row(method=method))


VARIANTS = [
    {"dropout": 0.5},
    {"weight_decay": 1e-2},
    {"augment": True},
    {"noise_std": 0.01},
    {"noise_std": 0.01, "noise_kind": "laplace"},
    {"method": "LIMIT Laplace", "noise_std": 0.1},
    {"method": "LIMIT Gaussian", "noise_std": 0.1},
    {"method": "LIMIT Laplace", "warm_up": 1},
    {"method": "LIMIT Laplace", "initialized": True},
    {"learning_rate": 1e-2},
    {"widths": (8, 8)},
]


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_every_option_changes_the_result(change):
    result, base = row(**change), row(method=change.get("method", "cross-entropy"))
    check(result)
    assert result["history"]["train_loss"] != base["history"]["train_loss"]


@pytest.mark.parametrize("network", ["cnn", "lenet", "resnet20"])
def test_every_kind_of_network_runs(network):
    check(row(network=network, epochs=1, method="LIMIT Laplace"), epochs=(1,))


def test_the_same_cell_gives_the_same_row():
    for method in ("cross-entropy", "LIMIT Laplace", "cleanlab, pruned"):
        again, before = measure(replace(CELL, method=method)), row(method=method)
        assert again["history"] == before["history"] and torch.equal(again["score"], before["score"])


def test_compared_methods_share_rows_and_noisy_labels():
    base = row()
    for method in METHODS:
        for name in ("rows", "noisy_labels", "clean_labels"):
            assert torch.equal(row(method=method)[name], base[name])


def test_pruning_never_leaves_a_batch_of_one(monkeypatch):
    monkeypatch.setattr("cleanlab.filter.find_label_issues", lambda labels, *rest, **options: np.arange(160) < 31)
    check(measure(replace(CELL, method="cleanlab, pruned")))  # 129 = 4 * 32 + 1 are kept


def test_each_seed_changes_what_it_names_and_nothing_else():
    def parts(**change):
        cell = replace(CELL, **change)
        split = make_split(cell)
        start = training.network(cell, split)[1].weight
        order = []
        look = lambda outputs, rows: order.append(rows) or outputs.mean()  # noqa: E731
        training.train(replace(cell, epochs=1), split, training.network(cell, split), look, targets=torch.arange(160))
        return {"data": split.rows, "noise": split.labels != split.clean, "init": start, "order": torch.cat(order)}

    base = parts()
    for seed, moved in [
        ("order_seed", {"order"}),
        ("init_seed", {"init"}),
        ("noise_seed", {"noise"}),
        ("data_seed", {"data"}),
    ]:
        other = parts(**{seed: 1})
        changed = {name for name in base if not torch.equal(base[name], other[name])}
        # other rows have other labels, so which of them turn out wrong may move with the data
        assert moved <= changed <= moved | ({"noise"} if seed == "data_seed" else set())
    assert row(order_seed=1)["history"] != row()["history"]
    assert row(init_seed=1)["history"] != row()["history"]


def test_the_networks_of_one_run_differ_and_the_first_is_the_baselines():
    split = make_split(CELL)
    first, again, second = (training.network(CELL, split, member)[1].weight for member in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, second)


# LIMIT


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_the_classifier_never_sees_labels(kind, beta):
    """Permuted labels leave the classifier's first gradient, and its weights after one step, bit-identical."""
    cell = replace(CELL, method=f"LIMIT {kind.capitalize()}", beta=beta, epochs=1, batch_size=160)
    split = make_split(cell)
    permuted = replace(split, labels=split.labels[torch.randperm(160, generator=stream("test", 0))])
    assert not torch.equal(permuted.labels, split.labels)
    gradients, weights = [], []
    for version in (split, permuted):
        model = WithAuxiliary(training.network(cell, split), training.network(cell, split, member=1))
        sum(limit_losses(*model(version.inputs), version.labels, beta=beta, kind=kind)).backward()
        gradients.append([[p.grad for p in net.parameters()] for net in (model.classifier, model.auxiliary)])
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "evaluation", lambda split, model, seen=seen: seen.append(model) or {"score": None})
            METHODS[cell.method](cell, version)
        weights.append([list(net.parameters()) for net in (seen[0].classifier, seen[0].auxiliary)])
    for first, second in (gradients, weights):
        assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))


def test_warm_up_trains_the_auxiliary_network_only():
    cell = replace(CELL, method="LIMIT Laplace", warm_up=2)
    split, seen = make_split(cell), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "evaluation", lambda split, model: seen.append(model) or {"score": None})
        METHODS[cell.method](cell, split)
    start = training.network(cell, split)
    trained = dict(seen[0].classifier.named_parameters())
    assert all(torch.equal(trained[name], weight) for name, weight in start.named_parameters())
    auxiliary = training.network(cell, split, member=1)
    assert not torch.equal(seen[0].auxiliary[1].weight, auxiliary[1].weight)


def test_the_start_is_the_checkpoint_that_noisy_validation_selects():
    cell = replace(CELL, epochs=5, learning_rate=1e-5)
    split = make_split(cell)
    model = training.cross_entropy_start(cell, split)
    fast = replace(cell, learning_rate=1e-3)  # the start is trained at the usual rate, whatever the method's own
    curve = measure(fast)["history"]["validation_accuracy"]
    found = float(
        (training.predict(model, split.validation_inputs).argmax(1) == split.validation_labels).double().mean()
    )
    assert found == max(curve)


# data and noise


def test_validation_is_disjoint_from_training_and_the_labels_belong_to_the_images():
    whole, split = data.load("fashion-mnist"), make_split(CELL)
    assert len(split.inputs) == len(split.labels) == len(split.rows) == 160 and len(split.validation_inputs) == 40
    assert len(set(split.rows.tolist())) == 160
    assert torch.equal(split.clean, whole.train_labels[split.rows])
    assert torch.equal(split.inputs, (whole.train_inputs[split.rows] - 0.456) / 0.224)
    larger = make_split(replace(CELL, n=200, rate=0.0))  # the next rows of the same order are the validation set
    assert torch.equal(larger.rows[:160], split.rows)
    assert torch.equal(larger.inputs[160:], split.validation_inputs)


def test_all_runs_share_the_test_images():
    whole, few = data.load("fashion-mnist"), make_split(replace(CELL, test_size=50))
    images = (whole.test_inputs - 0.456) / 0.224
    for other in (replace(CELL, data_seed=1, noise_seed=1, init_seed=1, order_seed=1), replace(CELL, n=80, rate=0.8)):
        split = make_split(replace(other, test_size=50))
        assert torch.equal(split.test_inputs, few.test_inputs) and torch.equal(split.test_labels, few.test_labels)
    place = [int((images == image).flatten(1).all(1).nonzero()[0]) for image in few.test_inputs]
    assert len(set(place)) == 50 and torch.equal(whole.test_labels[place], few.test_labels)
    every = make_split(replace(CELL, test_size=10_000))  # more than there are
    assert torch.equal(every.test_labels.sort().values, whole.test_labels.sort().values)


def test_noise_follows_the_transition():
    split = make_split(replace(CELL, n=20_000, rate=0.6))
    counts = torch.zeros(10, 10).index_put((split.clean, split.labels), torch.ones(20_000), accumulate=True)
    rates = counts / counts.sum(1, keepdim=True)
    expected = torch.full((10, 10), 0.6 / 9).fill_diagonal_(0.4)
    # binomial: a standard deviation is at most sqrt(.24 / 1900) = .011 on the diagonal, .006 elsewhere
    assert ((rates - expected).diagonal().abs() < 5 * 0.0112).all() and ((rates - expected).abs() < 5 * 0.0112).all()
    validation = (split.validation_labels == make_split(replace(CELL, n=20_000, rate=0.0)).validation_labels).double()
    assert abs(float(validation.mean()) - 0.4) < 5 * math.sqrt(0.24 / 5000)
    assert torch.equal(make_split(replace(CELL, rate=0.0)).labels, make_split(CELL).clean)


def test_pair_noise_moves_the_listed_classes_only_and_one_way():
    pairs = PAIRS["fashion-mnist"]
    split = make_split(replace(CELL, n=20_000, noise="pair", rate=0.4))
    wrong = split.clean != split.labels
    assert {(int(a), int(b)) for a, b in zip(split.clean[wrong], split.labels[wrong], strict=True)} == set(
        pairs.items()
    )
    source = torch.isin(split.clean, torch.tensor(list(pairs)))
    assert abs(float(wrong[source].double().mean()) - 0.4) < 5 * math.sqrt(0.24 / 8000)


def test_too_many_examples_are_refused(monkeypatch):
    whole = data.load("fashion-mnist")
    few = replace(whole, train_inputs=whole.train_inputs[:500], train_labels=whole.train_labels[:500])
    monkeypatch.setattr(data, "load", lambda name: few)
    assert len(make_split(replace(CELL, n=400)).validation_labels) == 100
    with pytest.raises(ValueError, match="n: got 404; accepted: up to 400, a quarter more is needed for validation"):
        make_split(replace(CELL, n=404))


# pieces


@pytest.mark.parametrize(
    "epochs, expected",
    [
        (1, [1]),
        (2, [1, 2]),
        (5, [1, 2, 3, 4, 5]),
        (40, [1, 2, 3, 4, 7, 11, 16, 26, 40]),
        (400, [1, 2, 3, 4, 7, 11, 16, 26, 40, 64, 101, 160, 253, 400]),
    ],
)
def test_checkpoints(epochs, expected):
    assert training.checkpoints(epochs) == expected


@pytest.mark.parametrize("shape", [(30, 3, 8, 6), (1, 1, 28, 28)])
def test_flip_and_crop_is_the_loop_over_images(shape):
    batch = torch.rand(shape, generator=stream("images", 0))
    before = batch.clone()
    ours = flip_and_crop(batch, stream("augment", 0))
    g = stream("augment", 0)
    flips = torch.rand(len(batch), generator=g) < 0.5
    tops, lefts = torch.randint(9, (2, len(batch)), generator=g)
    height, width = shape[2:]
    for image, flip, top, left, got in zip(batch, flips, tops, lefts, ours, strict=True):
        image = torch.stack([torch.stack([line.flip(0) for line in channel]) for channel in image]) if flip else image
        padded = torch.zeros(shape[1], height + 8, width + 8)
        padded[:, 4:-4, 4:-4] = image
        assert torch.equal(got, padded[:, top : top + height, left : left + width])
    assert torch.equal(batch, before) and ours.shape == batch.shape
    if len(batch) > 1:
        assert 0 < flips.sum() < len(batch)


def test_weight_decay_leaves_vectors_alone():
    split = make_split(CELL)
    model = training.network(CELL, split)
    optimizer = training.adam(list(model.parameters()), learning_rate=0.1, weight_decay=0.5)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(model[1].weight), id(model[4].weight)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_detection_by_hand():
    score, wrong = torch.tensor([0.9, 0.8, 0.7, 0.1]), torch.tensor([True, False, True, False])
    found = training.detection(score, wrong)
    assert found["auc"] == 0.75 and found["precision_at_100"] == 0.5  # 3 of 4 pairs in order; fewer than 100 examples
    assert math.isnan(training.detection(score, torch.zeros(4, dtype=torch.bool))["auc"])
    many = torch.arange(200.0)
    assert training.detection(many, many >= 150)["precision_at_100"] == 0.5


def test_evaluation_by_hand():
    split = make_split(CELL)
    logits = torch.randn(10, 10, generator=stream("logits", 0))

    class Fixed(torch.nn.Module):
        """Predicts by the brightness of the image."""

        def forward(self, inputs):
            return logits[(inputs.flatten(1).sum(1).abs() * 100).long() % 10]

    predictions = Fixed()(split.inputs)
    found = training.evaluation(split, Fixed())
    agree, clean, wrong = 0, 0, 0
    for guess, noisy, true in zip(
        predictions.argmax(1).tolist(), split.labels.tolist(), split.clean.tolist(), strict=True
    ):
        if noisy != true:
            wrong, agree, clean = wrong + 1, agree + (guess == noisy), clean + (guess == true)
    assert found["memorized_fraction"] == pytest.approx(agree / wrong)
    assert found["recovered_fraction"] == pytest.approx(clean / wrong)
    assert found["train_loss"] == pytest.approx(float(cross_entropy(predictions.double(), split.labels)))
    assert found["train_error"] == pytest.approx(float((predictions.argmax(1) != split.labels).double().mean()))
    assert torch.equal(found["score"], mislabel_score(predictions.double(), split.labels).float())
    expected = Fixed()(split.test_inputs).argmax(1) == split.test_labels
    assert found["test_accuracy"] == pytest.approx(float(expected.double().mean()))


# results

SETTINGS = [
    "noisy_labels.main.seeds=[1,0]",
    "noisy_labels.main.methods=[{method='cross-entropy'},"
    "{method='LIMIT Laplace',beta=3},{method='LIMIT Laplace',beta=10}]",
]
CELLS = CATALOGUE.load_profile("smoke", SETTINGS).panels["noisy_labels/training"]["main"].cells
NOISY = {"cross-entropy": 0.3, "LIMIT Laplace, β=3": 0.35, "LIMIT Laplace, β=10": 0.4}
TEST = {"cross-entropy": 0.4, "LIMIT Laplace, β=3": 0.8, "LIMIT Laplace, β=10": 0.7}


@pytest.fixture
def table():
    """Made-up results, the rows in another order than the panel's."""
    rows = results.labelled(pd.DataFrame([asdict(cell) for cell in CELLS[::-1]]))
    rows["final_validation_accuracy"] = rows["label"].map(NOISY) + rows["data_seed"] / 100
    rows["final_accuracy"] = rows["label"].map(TEST)
    places = list(range(len(CELLS)))[::-1]
    panels = {"main": places, "partly": [*places[1:], None]}
    return Table("noisy_labels/training", "test", rows.drop(columns=["label", "family"]), panels=panels)


def test_one_seed_serves_all_purposes_of_a_run():
    assert [(cell.method, cell.beta, cell.data_seed) for cell in CELLS[:3]] == [
        ("cross-entropy", 0, 1),
        ("cross-entropy", 0, 0),
        ("LIMIT Laplace", 3, 1),
    ]
    assert all(cell.data_seed == cell.noise_seed == cell.init_seed == cell.order_seed for cell in CELLS)


def test_panel_finds_its_rows_in_order_and_says_what_is_missing(table):
    rows = results.panel(table, "main")
    assert rows["beta"].tolist() == [cell.beta for cell in CELLS]
    assert rows["data_seed"].tolist() == [cell.data_seed for cell in CELLS]
    assert rows["label"].tolist()[::2] == list(NOISY)
    assert table.frame.iloc[rows["row"]]["final_accuracy"].tolist() == rows["final_accuracy"].tolist()
    with pytest.raises(NotRun, match="panel partly: 5 of 6 cells were run"):
        results.panel(table, "partly")
    with pytest.raises(NotRun, match="panel none: not in this profile"):
        results.panel(table, "none")


def test_runs_are_in_the_order_of_seeds(table):
    rows = results.panel(table, "main")
    assert results.runs(rows, "final_validation_accuracy", method="cross-entropy") == [0.3, 0.31]
    assert results.runs(rows, "init_seed", method="LIMIT Laplace", beta=10) == [0, 1]
    with pytest.raises(NotRun, match="no run with {'method': 'GCE'}"):
        results.runs(rows, "init_seed", method="GCE")


def test_chosen_looks_at_noisy_validation_only(table):
    rows = results.panel(table, "main")
    limit = ["LIMIT Laplace, β=10"] * 2  # beta 3 tests better
    assert results.chosen(rows, "LIMIT Laplace")["label"].tolist() == limit
    assert results.chosen(rows, "cross-entropy")["label"].tolist() == ["cross-entropy"] * 2
    shuffled = rows.assign(final_accuracy=rows["final_accuracy"].tolist()[::-1])
    assert results.chosen(shuffled, "LIMIT Laplace")["label"].tolist() == limit
    with pytest.raises(NotRun, match="no run of MAE"):
        results.chosen(rows, "MAE")


@pytest.mark.parametrize(
    "change, label, family",
    [
        ({}, "cross-entropy", "cross-entropy"),
        ({"dropout": 0.5}, "cross-entropy, dropout 0.5", "cross-entropy, dropout"),
        ({"weight_decay": 1e-3}, "cross-entropy, weight decay 0.001", "cross-entropy, weight decay"),
        ({"learning_rate": 1e-5}, "cross-entropy, lr 1e-05", "cross-entropy, small steps"),
        ({"method": "DMI", "learning_rate": 1e-5}, "DMI, lr 1e-05", "DMI"),
        (
            {"noise_std": 0.03, "noise_kind": "laplace"},
            "cross-entropy, Laplace gradient noise 0.03",
            "cross-entropy, Laplace gradient noise",
        ),
        (
            {"method": "LIMIT Gaussian", "beta": 30, "noise_std": 0.1},
            "LIMIT Gaussian, β=30, sampled 0.1",
            "LIMIT Gaussian, sampled",
        ),
        (
            {"method": "LIMIT Laplace", "warm_up": 5, "initialized": True},
            "LIMIT Laplace, β=3, warm-up 5, initialized",
            "LIMIT Laplace, warm-up, initialized",
        ),
        ({"method": "soft penalty"}, "soft penalty, λ=0.01, β=3", "soft penalty"),
        ({"method": "a reader's own"}, "a reader's own", "a reader's own"),
    ],
)
def test_names_say_what_differs(change, label, family):
    rows = results.labelled(pd.DataFrame([asdict(replace(CELL, **change))]))
    assert rows[["label", "family"]].values.tolist() == [[label, family]]


@pytest.mark.parametrize("name", ["smoke", "quick", "evidence", "full"])
def test_labels_tell_the_methods_of_a_panel_apart(name):
    for panel in CATALOGUE.load_profile(name).panels["noisy_labels/training"].values():
        if panel.cells:
            rows = results.labelled(pd.DataFrame([asdict(cell) for cell in panel.cells]))
            assert not rows.duplicated(["label", "n", "rate", "data_seed"]).any()
