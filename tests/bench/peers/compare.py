"""How do the scores of other packages agree with real retraining, on the same task and the same trained networks?

Runs in an environment of its own: ``make bench-peers`` builds it from requirements.lock and writes
book/results/peers/sample_information.json, which the chapter shows. The task is the panel ``width`` of the table
``sample_information/retraining`` at its largest width, in the ``quick`` profile.

What is compared: every package is asked by how much the output at each evaluation input moves when a training example
is left out, and half the mean square of its answer stands beside F-SI. pyDVL gives influences on a loss; with targets
``f(x) - 1`` at the evaluation inputs the derivative of half the squared error is that of the output itself. TRAK's
model output function is the network's output; its scale is arbitrary, which does not matter to a correlation. TRAK
asks for several trained networks; here it gets one, as every other method does.
"""

import copy
import logging
import sys
import tempfile
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from pydvl.influence.torch import CgInfluence, DirectInfluence
from scipy.stats import spearmanr
from torch import nn
from trak import TRAKer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, ProjectionType

from infocap import attribution
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.sample_information import retraining
from infocap.experiments.sample_information.tasks import two_classes
from infocap.sample_information import leave_one_out, retrain_leave_one_out
from infocap.study.tables import Table, write
from infocap.tangent import ntk
from infocap.training import predict

DAMPINGS = (1e-1, 1.0)  # the mean loss; the curvature of a network that is not at a minimum may be negative
_SMALL = 1e-1  # that of Gauss-Newton, and of TRAK's kernel
PROJECTIONS = (128, 1024)
RESULT = Path(__file__).parents[3] / "book/results/peers/sample_information.json"


def half_squared_error(outputs, targets):
    return (outputs - targets).square().sum(1).mean() / 2


def by_pydvl(model, inputs, targets, eval_inputs, damping, method=CgInfluence, **options):
    """Predicted change of the outputs at the evaluation inputs without each example, ``[k, m]``, times n."""
    calculator = method(model, half_squared_error, regularization=damping, **options)
    everything = torch.utils.data.TensorDataset(inputs[0], targets[0])
    calculator.fit(torch.utils.data.DataLoader(everything, batch_size=len(inputs[0])))
    moving = predict(model, eval_inputs) - 1
    return calculator.influences(inputs[1], targets[1], eval_inputs, moving)


class Output(AbstractModelOutput):
    """The network's only output under half a squared error."""

    def __init__(self):
        super().__init__()

    @staticmethod
    def get_output(model, weights, buffers, image, target):
        return torch.func.functional_call(model, (weights, buffers), image[None]).sum()

    def get_out_to_loss_grad(self, model, weights, buffers, batch):
        images, targets = batch
        return (torch.func.functional_call(model, (weights, buffers), images) - targets).detach()


def by_trak(model, inputs, targets, eval_inputs, dimension, seed):
    """Scores of the training examples for the outputs at the evaluation inputs, ``[n, m]``."""
    size = sum(parameter.numel() for parameter in model.parameters())
    projector = BasicProjector(size, dimension, seed, ProjectionType.rademacher, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        traker = TRAKer(
            model=model, task=Output(), train_set_size=len(inputs), save_dir=folder, device="cpu",
            projector=projector, proj_dim=dimension, use_half_precision=False, logging_level=logging.ERROR,
            lambda_reg=_SMALL * len(inputs) * dimension / size,  # gradients / sqrt(size), projections not scaled
        )  # fmt: skip
        weights = model.state_dict()
        traker.load_checkpoint(weights, model_id=0)
        traker.featurize([inputs, targets], num_samples=len(inputs))
        traker.finalize_features()
        traker.start_scoring_checkpoint("evaluation", weights, model_id=0, num_targets=len(eval_inputs))
        traker.score([eval_inputs, torch.zeros(len(eval_inputs), 1)], num_samples=len(eval_inputs))
        return torch.from_numpy(traker.finalize_scores("evaluation").copy())


def check_against_a_linear_model():
    """pyDVL, asked in this way, equals our Gauss-Newton influence where both are exact."""
    generator = torch.Generator().manual_seed(0)
    x, z = torch.randn(20, 4, generator=generator), torch.randn(6, 4, generator=generator)
    y, model = torch.randn(20, 1, generator=generator), nn.Linear(4, 1)
    theirs = by_pydvl(model, (x, x), (y, y), z, 0.1, DirectInfluence) / len(x)
    ours = attribution.gauss_newton_influence(model, x, y, z, damping=0.1).prediction_shift[..., 0]
    error = float((theirs.detach() - ours).abs().max() / ours.abs().max())
    if not error < 1e-3:
        sys.exit(f"pyDVL and the Gauss-Newton influence differ by {error:.1g} on a linear model")


def timed(call, *arguments, **options):
    start = time.perf_counter()
    result = call(*arguments, **options)
    return result, time.perf_counter() - start


def compare(cell):
    """One line per method for one seed."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed, cell.side)
    inputs, targets, eval_inputs = task.inputs, task.targets[:, None], task.eval_inputs
    model = retraining.initial(cell, task)
    chosen = torch.arange(cell.left_out)

    def closed_form(rate):
        kernel = ntk(model, inputs)[:, 0, :, 0].double()
        kernel_eval = ntk(model, eval_inputs, inputs)[:, 0, :, 0].double()
        residual = task.targets.double() - predict(model, inputs)[:, 0].double()
        solution = leave_one_out(
            kernel, residual, kernel_eval, learning_rate=rate / cell.n, steps=cell.steps,
            leave_out_factor=cell.n / (cell.n - 1),
        )  # fmt: skip
        return solution.prediction_shift[chosen]

    rate = cell.learning_rate / retraining.sharpness(ntk(model, inputs)[:, 0, :, 0])
    real, retraining_seconds = timed(
        retrain_leave_one_out, partial(copy.deepcopy, model), inputs, task.targets, eval_inputs, chosen,
        learning_rate=rate, steps=cell.steps, seed=cell.seed,
    )  # fmt: skip
    trained = copy.deepcopy(model)
    trained.load_state_dict(real.weights)
    own, left = (inputs, inputs[chosen]), (targets, targets[chosen])

    lines = [("infocap", "linearized at the horizon", "initial weights", *timed(closed_form, rate))]
    found, seconds = timed(attribution.gauss_newton_influence, trained, inputs, targets, eval_inputs, damping=_SMALL)
    shifts = found.prediction_shift[chosen, :, 0]
    lines.append(("infocap", f"influence, Gauss-Newton, damping {_SMALL:g}", "trained weights", shifts, seconds))
    for damping in DAMPINGS:
        found, seconds = timed(by_pydvl, trained, own, left, eval_inputs, damping, maxiter=200)
        lines.append(("pyDVL", f"influence, Hessian, CG, damping {damping:g}", "trained weights", found, seconds))
    for dimension in PROJECTIONS:
        found, seconds = timed(by_trak, trained, inputs, targets, eval_inputs, dimension, cell.seed)
        lines.append(("TRAK", f"{dimension:,} projections, one network", "trained weights", found[chosen], seconds))
    truth = real.prediction_shift.double().square().mean(1) / 2
    rows = []
    for package, method, needs, shifts, seconds in lines:
        score = shifts.detach().double().square().mean(1) / 2
        rows.append(
            {
                "package": package,
                "version": version({"TRAK": "traker"}.get(package, package)),
                "method": method,
                "needs": needs,
                "seed": cell.seed,
                "pearson": float(torch.corrcoef(torch.stack([score, truth]))[0, 1]),
                "spearman": float(spearmanr(score, truth).statistic),
                "seconds": seconds,
                "retraining_seconds": retraining_seconds,
            }
        )
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="pydvl")
    check_against_a_linear_model()
    profile = CATALOGUE.load_profile("quick")
    panel = profile.panels["sample_information/retraining"]["width"].cells
    widest = max(cell.widths for cell in panel)
    rows = [row for cell in panel if cell.widths == widest for row in compare(cell)]
    packages = {name: version(name) for name in ("torch", "numpy", "scipy", "pydvl", "traker", "infocap")}
    write(Table("sample_information/peers", profile.name, pd.DataFrame(rows), {"packages": packages}), RESULT)
    print(pd.DataFrame(rows).groupby(["package", "method"])[["pearson", "spearman", "seconds"]].mean())
    print(RESULT)
