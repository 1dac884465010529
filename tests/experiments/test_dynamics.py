"""Training beside its linearization: both are repeated by plain loops, the linearized one in weight space."""

import dataclasses
import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from infocap import data, networks
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.sample_information import dynamics, results
from infocap.experiments.sample_information.tasks import two_classes
from infocap.experiments.streams import stream
from infocap.study.cells import fields
from infocap.study.tables import Table, interval
from infocap.tangent import jacobian

DYNAMICS = "sample_information/dynamics"
CELL = dynamics.Cell("fashion-mnist", (2, 4), width=16, n=6, m=5, shown=2, learning_rate=0.5, steps=40, seed=3, side=7)


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Data sets are read once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", cache(data.load))
        yield


@cache
def row(**change):
    return dynamics.measure(dataclasses.replace(CELL, **change))


def problem():
    """The cell's network and data, built anew."""
    task = two_classes("fashion-mnist", (2, 4), 6, 5, 3, side=7)
    seed = int(torch.randint(2**62, (), generator=stream("initialization", 3)))
    model = networks.build("mlp", 1, seed=seed, in_features=49, widths=(16,), batch_norm=False).double()
    return model, task.inputs.double(), task.targets.double(), task.eval_inputs.double()


def test_linearized_training_by_gradient_descent_on_its_weights():
    model, inputs, targets, eval_inputs = problem()
    own, other = jacobian(model, inputs)[:, 0], jacobian(model, eval_inputs)[:, 0]
    start, eval_start = model(inputs)[:, 0].detach(), model(eval_inputs)[:, 0].detach()
    largest, first = np.linalg.eigh((own @ own.T).numpy())
    rate = 0.5 / (largest[-1] / 6)
    assert row()["step"] == pytest.approx(rate)
    assert row()["eigenvalues"] == pytest.approx(largest[::-1] / largest[-1], abs=1e-12)
    weights = torch.zeros(own.shape[1], dtype=torch.float64)
    for step in range(41):
        errors = targets - start - own @ weights
        if step in row()["at"]:
            place = row()["at"].index(step)
            assert row()["linear_loss"][place] == pytest.approx(errors.square().mean().item() / 2, rel=1e-9)
            shown = np.array(row()["linear_predictions"])[:, place]
            assert shown == pytest.approx((eval_start + other @ weights)[:2].numpy(), rel=1e-9)
            mode = abs(first[:, -1] @ errors.numpy()) / (targets - start).norm().item()
            assert abs(row()["linear_modes"][0][place]) == pytest.approx(mode, rel=1e-6, abs=1e-12)
        weights += rate / 6 * own.T @ errors


def test_real_training_by_a_plain_loop():
    model, inputs, targets, eval_inputs = problem()
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    for step in range(41):
        errors = targets - model(inputs)[:, 0]
        loss = errors.square().mean() / 2
        if step in row()["at"]:
            place = row()["at"].index(step)
            assert row()["real_loss"][place] == pytest.approx(loss.item(), rel=1e-9)
            shown = np.array(row()["real_predictions"])[:, place]
            assert shown == pytest.approx(model(eval_inputs)[:2, 0].detach().numpy(), rel=1e-9)
        if step < 40:
            gradients = torch.autograd.grad(loss, model.parameters())
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter -= row()["step"] * gradient
    end = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert row()["relative_move"] == pytest.approx(float((end - start).norm() / start.norm()), rel=1e-9)


def test_both_start_alike_and_a_wide_network_stays_near_its_linearization():
    result = row()
    assert result["at"][0] == 0 and result["at"][-1] == 40
    for name in ("loss", "modes", "predictions"):
        real, linear = np.array(result[f"real_{name}"]), np.array(result[f"linear_{name}"])
        assert real.shape == linear.shape and real.shape[-1] == len(result["at"])
        assert real[..., 0] == pytest.approx(linear[..., 0], rel=1e-9)
    assert len(result["prediction_error"]) == len(result["at"]) - 1
    assert row(width=4096)["prediction_error"][-1] < 0.3 * result["prediction_error"][-1]
    assert row(width=4096)["relative_move"] < result["relative_move"]


def test_beyond_two_the_linearized_loss_grows():
    below, above = row(learning_rate=1.9), row(learning_rate=2.1)
    assert max(below["linear_loss"]) == below["linear_loss"][0]
    assert above["linear_loss"][-1] > 100 * above["linear_loss"][0]
    assert abs(above["linear_modes"][0][-1] / above["linear_modes"][0][0]) == pytest.approx(1.1**40, rel=1e-6)
    assert "linear_predictions" in below and "linear_predictions" not in above


def test_horizons():
    at = dynamics.horizons(500)
    assert at[:4] == [0, 1, 2, 3] and at[-1] == 500 and at == sorted(set(at)) and len(at) <= 31


def test_accuracy_counts_sides_of_one_half():
    assert dynamics.accuracy(torch.tensor([0.6, 0.4, 2.0, -1.0]), torch.tensor([1.0, 0.0, 0.0, 0.0])) == 0.75


def test_the_table_is_json_repeats_and_has_a_cell_for_each_width_seed_and_rate():
    assert json.loads(json.dumps(row(), allow_nan=False)) == row() == dynamics.measure(CELL)
    cells = CATALOGUE.load_profile("quick").cells(DYNAMICS)
    usual = [cell for cell in cells if cell.learning_rate == 0.5]
    assert len(set(cells)) == len(cells) == 11
    assert {(cell.width, cell.seed) for cell in usual} == {(w, s) for w in (64, 256, 1024) for s in (0, 1, 2)}
    assert [(c.width, c.learning_rate) for c in cells if c not in usual] == [(1024, 1.9), (1024, 2.1)]
    assert CATALOGUE.tables[DYNAMICS] is dynamics
    for cell in CATALOGUE.load_profile("smoke").cells(DYNAMICS):
        assert json.dumps(dynamics.measure(cell), allow_nan=False)


def test_means_by_width_leave_out_the_other_rates():
    cells = CATALOGUE.load_profile("smoke").cells(DYNAMICS)
    cells.append(dataclasses.replace(cells[0], seed=1))
    frame = pd.DataFrame([fields(cell) | dynamics.measure(cell) for cell in cells])
    rows = results.by_width(frame)
    assert rows["width"].tolist() == [4, 16] and rows["runs"].tolist() == [2, 1]
    errors = [values[-1] for values in frame.loc[frame["width"] == 4, "prediction_error"]]
    assert rows["prediction error"][0] == pytest.approx(np.mean(errors))
    low, high = interval(errors)
    assert rows["95 % interval"].tolist() == [f"{max(low, 0):.3f} to {high:.3f}", "–"]
    kept = results.last_step(Table(DYNAMICS, "smoke", frame))
    pd.testing.assert_frame_equal(results.by_width(kept), rows)
