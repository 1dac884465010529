"""Do attacked training images carry more information than others?"""

import copy
from functools import partial
from typing import Any

import torch
from torch.nn.functional import mse_loss

from infocap.experiments.sample_information.applications import application
from infocap.experiments.sample_information.detection import Cell, auc, chosen
from infocap.experiments.sample_information.methods.closed_form import f_si
from infocap.experiments.sample_information.problem import Problem, problem
from infocap.experiments.sample_information.tasks import two_classes
from infocap.experiments.streams import stream
from infocap.training.loop import fit


@application("adversarial")
def adversarial(cell: Cell) -> dict[str, Any]:
    """A share of the training images is moved against a network that was trained on all of them, labels kept."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    attacked = chosen(cell, "attacked")
    clean = problem(cell, task.inputs, task.targets, task.eval_inputs)
    trained = copy.deepcopy(clean.model).float()
    fit(
        trained, clean.inputs.float(), clean.targets[:, None].float(),
        loss=mse_loss, optimizer=partial(torch.optim.Adam, lr=1e-3), steps=cell.epochs * -(-cell.n // 50),
        batch_size=min(50, cell.n), generator=stream("order", cell.seed),
    )  # fmt: skip
    trained.double()
    leaf = clean.inputs.clone().requires_grad_()
    loss = mse_loss(trained(leaf)[:, 0], clean.targets, reduction="sum")
    step = cell.strength * torch.autograd.grad(loss, leaf)[0].sign()
    where = attacked.to(cell.device)[:, None, None, None]
    inputs = torch.where(where, (clean.inputs + step).clamp(0, 1), clean.inputs)

    initial, final = (Problem(model, inputs, clean.targets, clean.eval_inputs) for model in (clean.model, trained))
    scores = {"f_si_initial": f_si(cell, initial), "f_si_trained": f_si(cell, final), "loss": final.residual.square()}
    wrong = (scores["loss"] > 0.25).cpu()
    return {"rows": task.rows, "attacked": attacked.long(), **scores} | {
        f"auc_{name}": auc(score, attacked) for name, score in scores.items()
    } | {
        "fooled": float(wrong[attacked].double().mean()),
        "error": float(wrong[~attacked].double().mean()),
    }  # fmt: skip
