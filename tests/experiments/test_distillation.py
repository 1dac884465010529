"""Part 4: the cells of its tables, on the smallest sizes, against what they are made of."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from infocap.distillation import adjusted_supervision_complexity, soft_targets
from infocap.experiments.distillation import common, flips, supervision, training
from infocap.experiments.profiles import load_profile
from infocap.experiments.streams import stream

SMOKE = load_profile("smoke")
TRAINING = {cell.panel: cell for cell in training.cells(SMOKE)}


@pytest.fixture(scope="module")
def noisy():
    cell = TRAINING["noisy"]
    return cell, training.measure(cell)


def test_every_method_has_its_students(noisy):
    cell, result = noisy
    found = {(row["method"], row.get("temperature"), row["student_seed"]) for row in result["students"]}
    for seed in cell.student_seeds:
        for temperature in cell.temperatures:
            assert {("offline", temperature, seed), ("online", temperature, seed)} <= found
        assert {("none", None, seed), ("stopped", 1.0, seed)} <= found
    assert {"stopping sweep", "update period", "squared, offline", "squared, online"} <= {name for name, *_ in found}
    assert len(result["students"]) == len(result["along"]) == len(found)
    for row, path in zip(result["students"], result["along"], strict=True):
        assert path["test_accuracy"][-1] == row["test_accuracy"]


def test_a_teachers_row_is_its_checkpoint(noisy):
    cell, result = noisy
    assert [row["checkpoint"] for row in result["teacher"]] == list(range(1, cell.checkpoints + 1))
    best = max(row["validation_accuracy"] for row in result["teacher"])
    assert result["teacher"][result["best_checkpoint"] - 1]["validation_accuracy"] == best


def test_equal_seeds_give_equal_students_and_the_stopped_teacher_is_an_offline_one():
    cell = replace(TRAINING["noisy"], checkpoints=1, stopped=(1,), periods=(), squared=False)
    rows = {
        (row["method"], row.get("temperature"), row["student_seed"]): row for row in training.measure(cell)["students"]
    }
    first = cell.student_seeds[0]
    offline = rows["offline", 1.0, first]
    for other in (rows["online", 1.0, first], rows["stopped", 1.0, first], rows["stopping sweep", 1.0, first]):
        assert other["test_accuracy"] == offline["test_accuracy"]
        assert other["predictive_kl"] == offline["predictive_kl"]  # bit for bit: one checkpoint is the final teacher


def test_a_student_without_a_teacher_is_plain_training():
    cell = TRAINING["clean"]
    task = training.make_task(cell)
    image = tuple(task.inputs.shape[1:])
    first, second = (common.network("small_cnn", task.classes, image, "student", 0, width=2) for _ in range(2))
    training.learn(cell, task, first, 0, training.loss_of(cell, task, torch.empty(0), "none", {}))
    common.train(
        second, task.views, task.labels.repeat(cell.views), training.student_steps(cell), loss=cross_entropy,
        optimizer=common.optimizer(cell.learning_rate, cell.weight_decay), batch_size=cell.batch_size,
        generator=stream(f"student order {cell.teacher_seed}", 0),
    )  # fmt: skip
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_online_stages_end_with_the_final_checkpoint():
    cell = replace(TRAINING["noisy"], checkpoints=10, epochs=20)
    seen = {}
    for count in (2, 3, 5, 10):
        logits = torch.arange(10.0)[:, None, None].expand(10, 4, 2)
        loss = training.loss_of(cell, None, logits, "online", {"temperature": 1.0, "count": count})
        rows = torch.arange(2)
        steps = training.student_steps(cell)
        seen[count] = []
        for step in range(steps):
            seen[count].append(float(loss.teacher(step, rows)[0, 0]))
    assert [sorted(set(values)) for values in seen.values()] == [
        [4, 9], [2, 6, 9], [1, 3, 5, 7, 9], list(range(10))
    ]  # fmt: skip
    for values in seen.values():
        assert values == sorted(values)


def test_views_keep_labels_and_rows_together():
    task = training.make_task(replace(TRAINING["clean"], shift=0))
    views = task.views.view(TRAINING["clean"].views, *task.inputs.shape)
    for view in views:
        same = (view == task.inputs).flatten(1).all(1)
        mirrored = (view == task.inputs.flip(3)).flatten(1).all(1)
        assert bool((same | mirrored).all())


def test_label_noise_touches_training_and_validation_only():
    cell = replace(TRAINING["noisy"], n=400, label_noise=0.3)
    task = training.make_task(cell)
    clean = training.make_task(replace(cell, label_noise=0.0))
    assert torch.equal(task.inputs, clean.inputs) and torch.equal(task.test_labels, clean.test_labels)
    assert torch.equal(task.clean, clean.labels)
    assert 0.2 < float((task.labels != task.clean).double().mean()) < 0.4


def test_complexity_for_a_shared_kernel_is_that_of_the_block_matrix():
    generator = torch.Generator().manual_seed(0)
    factor, targets = torch.randn(6, 8, generator=generator), torch.randn(6, 3, generator=generator).double()
    shared = (factor @ factor.T).double()
    four = torch.einsum("ij,cd->icjd", shared, torch.eye(3, dtype=torch.float64))
    assert training.complexity(shared, targets) == pytest.approx(float(adjusted_supervision_complexity(four, targets)))


def test_supervision_rows_name_every_target():
    cell = supervision.cells(SMOKE)[0]
    result = supervision.measure(cell)
    rows = result["complexity"]
    per_kernel = 2 + cell.checkpoints * len(cell.temperatures)
    assert len(rows) == per_kernel * 2 * len(cell.students)
    assert {row["share"] for row in result["condition"]} == set(supervision.LOOKS)
    labels = [row for row in result["kernel_student"] if row["targets"] == "labels"]
    assert labels[0]["agreement"] == 1 and labels[0]["normalized"] == pytest.approx(labels[0]["adjusted"])


def test_complexities_agree_with_the_explicit_inverse():
    cell = replace(supervision.cells(SMOKE)[0], random_draws=3, temperatures=(2.0,))
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(5, 9, generator=generator).double()
    matrix, outputs = factor @ factor.T, torch.randn(5, generator=generator).double()
    labels, logits = torch.tensor([1, -1, 1, 1, -1]), torch.randn(5, 1, generator=generator)
    rows = list(supervision.complexities(cell, matrix, outputs, labels, [logits]))
    targets = soft_targets(logits.double(), 2.0)[:, 0]
    for row, goal in ((rows[1], labels.double()), (rows[2], targets)):
        assert row["plain"] ** 2 == pytest.approx(float(goal @ matrix.inverse() @ goal))
        assert row["residual"] ** 2 == pytest.approx(float((goal - outputs) @ matrix.inverse() @ (goal - outputs)))


def test_flipped_labels_are_nested_and_the_interpolant_fits_them():
    cell = flips.cells(SMOKE)[0]
    result = flips.measure(cell)
    assert len(result["adjusted"]) == len(cell.rates) and len(result["ridge_adjusted"]) == len(cell.ridges)
    assert result["ridge_agreement"][0] == 1  # without a ridge the teacher repeats its labels
    assert result["ridge_adjusted"] == sorted(result["ridge_adjusted"], reverse=True)


def test_a_cell_measures_the_same_twice():
    cell = flips.cells(SMOKE)[1]
    assert flips.measure(cell) == flips.measure(cell)
