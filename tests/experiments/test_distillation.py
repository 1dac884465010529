"""Part 4: the cells of its tables, on the smallest sizes, against what they are made of."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

from infocap.complexity import adjusted_supervision_complexity
from infocap.distillation import soft_targets
from infocap.experiments import Book
from infocap.experiments.distillation import common, flips, results, supervision, training
from infocap.experiments.distillation.methods import METHODS
from infocap.experiments.streams import stream

BOOK = Book("smoke")
TABLES = {name: BOOK.profile.panels[f"distillation/{name}"] for name in ("training", "supervision", "flips")}
TRAINING = {name: panel.cells[0] for name, panel in TABLES["training"].items()}
SUPERVISION, FLIPS = (TABLES[name]["small"].cells for name in ("supervision", "flips"))


def said(views):
    """A teacher of which nothing but its answers on the views is known."""
    return training.Teacher(views, None, None, None, best=1, history=[], model=None)


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
    assert [row["checkpoint"] for row in result["teacher_rows"]] == list(range(1, cell.checkpoints + 1))
    best = max(row["validation_accuracy"] for row in result["teacher_rows"])
    assert result["teacher_rows"][result["best_checkpoint"] - 1]["validation_accuracy"] == best


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


def test_a_student_without_a_teacher_is_plain_training(monkeypatch, close):
    cell, make = TRAINING["clean"], training.new_student
    task = training.make_task(cell)
    task = replace(task, views=task.views.double(), test_inputs=task.test_inputs.double())
    monkeypatch.setattr(training, "new_student", lambda *which: make(*which).double())
    plain, second = METHODS["none"](cell, task, None), training.new_student(cell, task, 0)
    (first, _), (other, _) = training.learn(cell, task, 0, [plain, lambda outputs, rows: 2 * plain(outputs, rows)])
    common.train(
        second, task.views, task.labels.repeat(cell.views), training.student_steps(cell), loss=cross_entropy,
        optimizer=common.optimizer(cell.learning_rate, cell.weight_decay), batch_size=cell.batch_size,
        generator=stream(f"student order {cell.teacher_seed}", 0),
    )  # fmt: skip
    assert not torch.allclose(other[0].weight, first[0].weight)
    for one, expected in zip(first.parameters(), second.parameters(), strict=True):
        close(one, expected)


def test_the_learning_rate_falls_to_zero_along_a_cosine():
    optimizer = common.optimizer(0.4, 0.0)([torch.zeros(1, requires_grad=True)])
    schedule, rates = common.schedule(4)(optimizer), []
    for _ in range(4):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.2 + 0.2 / 2**0.5, 0.2, 0.2 - 0.2 / 2**0.5, 0.0])


def test_online_stages_end_with_the_final_checkpoint():
    cell = replace(TRAINING["noisy"], checkpoints=10, epochs=20)
    seen = {}
    for count in (2, 3, 5, 10):
        teacher = said(torch.arange(10.0)[:, None, None].expand(10, 4, 2))
        loss = METHODS["online"].function(cell, None, teacher, temperature=1.0, count=count)
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
    cell = SUPERVISION[0]
    result = supervision.measure(cell)
    rows = result["complexity"]
    per_kernel = 2 + cell.checkpoints * len(cell.temperatures)
    assert len(rows) == per_kernel * 2 * len(cell.students)
    assert {row["share"] for row in result["condition"]} == set(supervision.LOOKS)
    labels = [row for row in result["kernel_student"] if row["targets"] == "labels"]
    assert labels[0]["agreement"] == 1 and labels[0]["normalized"] == pytest.approx(labels[0]["adjusted"])


def test_complexities_agree_with_the_explicit_inverse():
    cell = replace(SUPERVISION[0], random_draws=3, temperatures=(2.0,))
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
    cell = FLIPS[0]
    result = flips.measure(cell)
    assert len(result["adjusted"]) == len(cell.rates) and len(result["ridge_adjusted"]) == len(cell.ridges)
    assert result["ridge_agreement"][0] == 1  # without a ridge the teacher repeats its labels
    assert result["ridge_adjusted"] == sorted(result["ridge_adjusted"], reverse=True)


def test_a_cell_measures_the_same_twice():
    cell = FLIPS[1]
    assert flips.measure(cell) == flips.measure(cell)


def small(cell, **changes):
    return replace(cell, n=16, views=1, checkpoints=1, teacher_epochs=1, epochs=1, points=2, **changes)


def test_neighbours_on_one_axis_take_turns_and_side_studies_have_one_seed():
    cell = replace(TRAINING["noisy"], temperatures=(1.0, 4.0), stopped=(1,), periods=(2,), student_seeds=(5, 6))
    found = [
        (entry.name, seeds, kernels, options) for entry, seeds, kernels, options in training.plan(cell, said(None))
    ]
    last = cell.checkpoints
    assert found == [
        ("none", (5, 6), True, {}),
        ("offline", (5, 6), True, {"temperature": 1.0, "checkpoint": last}),
        ("online", (5, 6), True, {"temperature": 1.0, "count": last}),
        ("offline", (5, 6), True, {"temperature": 4.0, "checkpoint": last}),
        ("online", (5, 6), True, {"temperature": 4.0, "count": last}),
        ("stopped", (5, 6), False, {"temperature": 1.0, "checkpoint": 1}),
        ("stopping sweep", (5,), False, {"temperature": 1.0, "checkpoint": 1}),
        ("update period", (5,), False, {"temperature": 1.0, "count": 2}),
        ("squared, offline", (5,), False, {"temperature": 1.0, "checkpoint": last}),
        ("squared, online", (5,), False, {"temperature": 1.0, "count": last}),
    ]
    assert all("squared" not in entry.name for entry, *_ in training.plan(replace(cell, squared=False), said(None)))


def test_methods_with_nothing_to_try_are_an_error():
    cell = replace(TRAINING["clean"], methods=("stopping sweep",), stopped=())
    with pytest.raises(ValueError, match="methods: got stopping sweep with nothing to try; accepted: with temp"):
        list(training.plan(cell, said(None)))


def half_labels(cell, task, teacher):
    """A method of a reader's own: half of the loss from labels."""

    def loss(outputs, rows):
        return (
            cross_entropy(outputs, task.view_labels[rows]) + cross_entropy(outputs, teacher.views[-1][rows].softmax(1))
        ) / 2

    return loss


def two_layers(image, num_outputs):
    channels, height, width = image
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 64), nn.Tanh(), nn.Linear(64, num_outputs))


def test_an_own_method_is_trained_on_the_panels_teachers_and_read_like_the_books(tmp_path):
    book = Book("smoke", store=tmp_path)
    table = book.table("distillation/training")
    shown = results.students(table.panel("clean"))
    own = table.also(half_labels, "clean", jobs=1)
    rows = results.students(own)
    seeds = ["teacher_seed", "student_seed"]
    assert set(rows["name"]) == {"half_labels"}
    assert rows[seeds].values.tolist() == shown[shown["method"] == "none"][seeds].values.tolist()
    columns = ["test_accuracy", "fidelity", "similarity"]
    assert rows[columns].notna().all().tolist() == [True, True, False]  # kernels: the first student of each teacher
    lines = results.accuracies(clean=table.panel("clean"), both=pd.concat([table.panel("clean"), own]))
    assert lines["student learns from"].tolist() == [*results.METHOD_NAMES.values(), "half_labels"]
    assert lines["clean, over teachers"].iloc[-1] == "not run"
    again = results.students(table.also("none", "clean", jobs=1))
    assert again["test_accuracy"].tolist() == shown[shown["method"] == "none"]["test_accuracy"].tolist()
    assert again["fidelity"].tolist() == shown[shown["method"] == "none"]["fidelity"].tolist()  # the same teachers


@pytest.fixture
def own_images(tmp_path):
    generator = torch.Generator().manual_seed(0)
    for part in ("train", "test"):
        for label in "abc":
            folder = tmp_path / "my-images" / part / label
            folder.mkdir(parents=True)
            for number in range(30):
                pixels = torch.randint(256, (15, 15, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return f"folder:{tmp_path / 'my-images'}"


def test_own_images_of_other_sizes_and_three_channels(own_images):
    cell = small(TRAINING["noisy"], data=own_images, student_seeds=(0,))
    for student in ("small_cnn", "mlp"):
        rows = training.measure(replace(cell, student=student))["students"]
        assert {row["method"] for row in rows} == set(METHODS)
    binary = replace(SUPERVISION[0], data=own_images, n=30, kernel_n=8, points=12, positive=(0,))
    assert supervision.measure(binary)["complexity"]
    assert flips.measure(replace(FLIPS[0], data=own_images, n=20, positive=(1, 2)))["network_error"]


def test_classes_and_sizes_that_do_not_fit_are_named(own_images):
    for positive in ((0, 1, 2), (0, 5), ()):
        with pytest.raises(ValueError, match="positive: got .*; accepted: some, not all, of the classes 0 to 2"):
            common.binary_task(replace(FLIPS[0], data=own_images, n=20, positive=positive))
    with pytest.raises(ValueError, match="n: got 1000 images, those for validation included; accepted: up to 90"):
        training.make_task(replace(TRAINING["clean"], data=own_images, n=800))


def test_an_own_network_is_the_student(tmp_path):
    book = Book("smoke", store=tmp_path)
    rows = book.table("distillation/training").also("none", "clean", network=two_layers, jobs=1)
    assert set(rows["student"]) == {"two_layers"}
    rows = book.table("distillation/supervision").also(panel="small", network=two_layers, jobs=1)
    assert set(results.complexities(rows)["student"]) == {"two_layers"}


def test_code_of_a_cell_is_that_of_its_methods_and_networks():
    cell = replace(TRAINING["clean"], methods=("none",))
    assert cell.code() == [f"infocap.networks.{name}" for name in ("allconv", "small_cnn")] + [
        "infocap.experiments.distillation.methods.labels"
    ]
    assert SUPERVISION[0].code() == [f"infocap.networks.{name}" for name in ("allconv", "small_cnn", "mlp")]
    assert FLIPS[0].code() == ["infocap.networks.small_cnn"]
