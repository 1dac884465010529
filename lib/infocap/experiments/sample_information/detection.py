"""Table ``sample_information/detection``: which examples carry much sample information?

| experiment | what differs within the training set | what is measured |
|---|---|---|
| ``mislabelled`` | a share of the labels is flipped | how well each score ranks the flipped ones first |
| ``clean`` | nothing | how heavy the tail of F-SI is, and whether SI and F-SI agree |
| ``subclass`` | a few examples of a rare class share their target with a common one | F-SI of rare over common |
| ``sources`` | half of it is a few images, jittered; apart from that, some get an exact twin | ratios of F-SI |
| ``adversarial`` | a share is attacked by the fast gradient sign method | as ``mislabelled``, at two linearizations |
| ``coordinates`` | nothing, but the kernel is that of random coordinates | error of the kernel and of the ranking |

Scores are those of a network linearized at its initialization, trained to the end with a ridge and, where the task has
a horizon, also for its steps without one. Evaluation inputs are clean and their labels are not used; the training set
is all that any score sees.
"""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import mse_loss, pad

from infocap import attribution, data, networks
from infocap.experiments.fields import ImageData
from infocap.experiments.sample_information.tasks import two_classes
from infocap.experiments.streams import stream
from infocap.sample_information import leave_one_out
from infocap.study.fields import AtLeast, NonNegative, Options, Positive, Share
from infocap.tangent import ntk, sampled_ntk
from infocap.training import fit, predict

_FASHION = (
    "T-shirts", "trousers", "pullovers", "dresses", "coats", "sandals", "shirts", "sneakers", "bags", "boots",
)  # fmt: skip
_CONFIDENCE = {"width": 64, "epochs": 10, "batch_size": 64}  # the small networks of the cross-validated baseline


PANEL = "experiment"
GRID = {"tasks": Options, "seeds": "seed"}


@dataclass(frozen=True)
class Cell:
    """One task and seed. ``ridge`` is that of the sum of the losses, the learning rate that of their mean."""

    experiment: Literal["mislabelled", "clean", "subclass", "sources", "adversarial", "coordinates"]
    data: ImageData
    classes: tuple[int, ...]
    n: AtLeast[8]
    m: AtLeast[8]
    width: AtLeast[1]
    ridge: Positive
    seed: int
    device: str
    learning_rate: NonNegative = 0.0
    steps: AtLeast[0] = 0
    rate: Share = 0.0
    rare: AtLeast[0] = 0
    copies: AtLeast[0] = 0
    twins: AtLeast[0] = 0
    strength: NonNegative = 0.0
    epochs: AtLeast[0] = 0
    coordinates: tuple[AtLeast[1], ...] = ()


def measure(cell: Cell) -> dict[str, Any]:
    """The numbers of one cell; which ones depends on its experiment. Arrays have one entry per training example."""
    return _MEASURES[cell.experiment](cell)


@dataclass(frozen=True)
class Problem:
    """A network and what it is trained on, in float64: ``inputs [n, ...]``, ``targets [n]``, ``eval_inputs``."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    eval_inputs: Tensor

    def kernels(self) -> tuple[Tensor, Tensor]:
        """``[n, n]`` and ``[m, n]``."""
        kernel_eval = ntk(self.model, self.eval_inputs, self.inputs)
        return ntk(self.model, self.inputs)[:, 0, :, 0], kernel_eval[:, 0, :, 0]

    def residual(self) -> Tensor:
        """Targets minus the network's outputs, ``[n]``."""
        return self.targets - predict(self.model, self.inputs)[:, 0]


def problem(cell: Cell, inputs: Tensor, targets: Tensor, eval_inputs: Tensor) -> Problem:
    """A network with one hidden layer, at its initialization, and a training set for it."""
    seed = int(torch.randint(2**62, (), generator=stream("initialization", cell.seed)))
    model = networks.build(
        "mlp", 1, seed=seed, in_features=inputs[0].numel(), widths=(cell.width,), batch_norm=False
    ).to(cell.device, torch.float64)
    inputs, eval_inputs = (normalize(cell, images).to(cell.device, torch.float64) for images in (inputs, eval_inputs))
    return Problem(model, inputs, targets.to(cell.device, torch.float64), eval_inputs)


def normalize(cell: Cell, images: Tensor) -> Tensor:
    """MNIST as in the paper's configuration; other images as they are, from 0 to 1."""
    return (images - 0.456) / 0.224 if cell.data == "mnist" else images


def closed_form_scores(cell: Cell, kernel: Tensor, residual: Tensor, kernel_eval: Tensor) -> dict[str, Tensor]:
    """All scores that the kernel gives, ``[n]`` each."""
    end = leave_one_out(kernel, residual, kernel_eval, ridge=cell.ridge)
    scores = {
        "f_si": end.functional_sample_information(),
        "si": end.sample_information(),
        "left_out_residual": end.residual.abs(),
        "training_residual": ((1 - end.leverage) * end.residual).abs(),
    }
    if cell.steps:
        n = len(residual)
        horizon = {"learning_rate": cell.learning_rate / n, "steps": cell.steps, "leave_out_factor": n / (n - 1)}
        run = leave_one_out(kernel, residual, kernel_eval, **horizon)
        scores |= {
            "f_si_horizon": run.functional_sample_information(),
            "si_horizon": run.sample_information(),
        }
    return scores


def agreement(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(a.cpu(), b.cpu()).statistic)


def auc(score: Tensor, positive: Tensor) -> float:
    """The probability that a positive example has a larger score than another one."""
    from sklearn.metrics import roc_auc_score  # here, because chapters import this module and measure nothing

    return float(roc_auc_score(positive.cpu(), score.cpu()))


def task_name(row: Any) -> str:
    """The classes of a row's task, such as ``pullovers, coats`` or ``digits 4, 9``."""
    if row["data"] == "fashion-mnist":
        return ", ".join(_FASHION[class_id] for class_id in row["classes"])
    source = "digits" if row["data"] == "mnist" else row["data"]
    return f"{source} {', '.join(map(str, row['classes']))}"


def _shuffled(count: int, purpose: str, cell: Cell) -> Tensor:
    return torch.randperm(count, generator=stream(purpose, cell.seed))


def _labels(cell: Cell) -> dict[str, Any]:
    """Experiments ``mislabelled`` and ``clean``: a share of the targets, or none of them, is flipped."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    flipped = _shuffled(cell.n, "flipped labels", cell) < round(cell.rate * cell.n)
    targets = torch.where(flipped, 1 - task.targets, task.targets)
    this = problem(cell, task.inputs, targets, task.eval_inputs)
    kernel, kernel_eval = this.kernels()
    scores = closed_form_scores(cell, kernel, this.residual(), kernel_eval)
    result = {"rows": task.rows, "targets": targets, **scores}
    for ending in ("", "_horizon") if cell.steps else ("",):
        f_si = scores[f"f_si{ending}"]
        result[f"spearman{ending}"] = agreement(scores[f"si{ending}"], f_si)
        result[f"top_share{ending}"] = top_share(f_si)
    if cell.rate:
        norms = kernel.diagonal().sqrt() * this.residual().abs()  # GraNd of half squared errors, and EL2N below
        baselines = {"self_confidence": 1 - confidence(cell, this), "el2n": this.residual().abs(), "grand": norms}
        result |= {"flipped": flipped.long(), **baselines}
        result |= {f"auc_{name}": auc(score, flipped) for name, score in (scores | baselines).items()}
    return result


def confidence(cell: Cell, this: Problem) -> Tensor:
    """What small networks trained on other folds give to each label, ``[n]``."""
    build = partial(
        networks.build, "mlp", 2, in_features=this.inputs[0].numel(), widths=(_CONFIDENCE["width"],), batch_norm=False
    )
    batch_size = min(_CONFIDENCE["batch_size"], cell.n // 2)
    return attribution.self_confidence(
        build, this.inputs.float(), this.targets.long(), optimizer=partial(torch.optim.Adam, lr=1e-3),
        steps=_CONFIDENCE["epochs"] * -(-4 * cell.n // (5 * batch_size)), batch_size=batch_size, seed=cell.seed,
    )  # fmt: skip


def top_share(score: Tensor, fraction: float = 0.1) -> float:
    """The share of the sum that the largest tenth of the values holds."""
    largest = score.sort(descending=True).values[: round(fraction * len(score))]
    return float(largest.sum() / score.sum())


def _subclass(cell: Cell) -> dict[str, Any]:
    """``n`` examples of a common class and ``rare`` ones of another share a target, against ``n`` of a third class.

    The evaluation inputs have the composition of the training set.
    """
    dataset = data.load(cell.data)
    total = 2 * cell.n + cell.rare
    training, evaluation = [], []
    for place, (class_id, count) in enumerate(zip(cell.classes, (cell.n, cell.rare, cell.n), strict=True)):
        rows = (dataset.train_labels == class_id).nonzero()[:, 0]
        rows = rows[_shuffled(len(rows), f"subclass {cell.data} {place}", cell)]
        training.append(rows[:count])
        evaluation.append(rows[count : count + round(cell.m * count / total)])
    kind = torch.repeat_interleave(torch.arange(3), torch.tensor([len(part) for part in training]))
    rows = torch.cat(training)
    images = dataset.train_inputs
    this = problem(cell, images[rows], (kind < 2).double(), images[torch.cat(evaluation)])
    kernel, kernel_eval = this.kernels()
    scores = closed_form_scores(cell, kernel, this.residual(), kernel_eval)
    f_si, one_target = scores["f_si"].cpu(), kind < 2
    return {
        "rows": rows,
        "kind": kind,
        **scores,
        "ratio": float(f_si[kind == 1].mean() / f_si[kind == 0].mean()),
        "auc": auc(f_si[one_target], kind[one_target] == 1),
    }


def _sources(cell: Cell) -> dict[str, Any]:
    """``n`` distinct images beside ``n`` jittered copies of ``n / copies`` other ones; then, exact twins."""
    bases = cell.n // cell.copies
    task = two_classes(cell.data, cell.classes, cell.n + bases, cell.m, cell.seed)
    copied = task.inputs[cell.n :].repeat_interleave(cell.copies, 0)
    jittered = shifted(copied, stream("jitter", cell.seed))
    inputs = torch.cat([task.inputs[: cell.n], jittered])
    targets = torch.cat([task.targets[: cell.n], task.targets[cell.n :].repeat_interleave(cell.copies)])
    this = problem(cell, inputs, targets, task.eval_inputs)
    kernel, kernel_eval = this.kernels()
    residual = this.residual()
    f_si = closed_form_scores(cell, kernel, residual, kernel_eval)["f_si"]

    def of(places: Tensor, groups: Tensor | None = None) -> Tensor:
        out = leave_one_out(
            kernel[places][:, places], residual[places], kernel_eval[:, places], ridge=cell.ridge, groups=groups
        )
        return out.functional_sample_information()

    alone = torch.arange(cell.n)
    with_twins = torch.cat([alone, alone[: cell.twins]])
    before, after, pairs = of(alone), of(with_twins), of(with_twins, with_twins)
    twin = alone < cell.twins

    def change(new: Tensor, chosen: Tensor) -> float:
        return float(new[: cell.n][chosen].mean() / before[chosen].mean())

    return {
        "f_si": f_si,
        "source": (torch.arange(len(inputs)) >= cell.n).long(),
        "ratio": float(f_si[: cell.n].mean() / f_si[cell.n :].mean()),
        "twin_ratio": change(after, twin),
        "pair_ratio": change(pairs, twin),
        "others_ratio": change(after, ~twin),
    }


def shifted(images: Tensor, generator: torch.Generator, reach: int = 1) -> Tensor:
    """Each image moved by up to ``reach`` pixels in each direction, zeros at the edges."""
    count, _, height, width = images.shape
    moves = torch.randint(2 * reach + 1, (count, 2), generator=generator).tolist()
    padded = pad(images, (reach,) * 4)
    return torch.stack(
        [image[:, top : top + height, left : left + width] for image, (top, left) in zip(padded, moves, strict=True)]
    )


def _adversarial(cell: Cell) -> dict[str, Any]:
    """A share of the training images is moved against a network that was trained on all of them, labels kept."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    attacked = _shuffled(cell.n, "attacked", cell) < round(cell.rate * cell.n)
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

    result: dict[str, Any] = {"rows": task.rows, "attacked": attacked.long()}
    for name, model in [("initial", clean.model), ("trained", trained)]:
        this = Problem(model, inputs, clean.targets, clean.eval_inputs)
        kernel, kernel_eval = this.kernels()
        result[f"f_si_{name}"] = closed_form_scores(cell, kernel, this.residual(), kernel_eval)["f_si"]
    result["loss"] = this.residual().square()
    wrong = (result["loss"] > 0.25).cpu()
    names = ("f_si_initial", "f_si_trained", "loss")
    return result | {f"auc_{name}": auc(result[name], attacked) for name in names} | {
        "fooled": float(wrong[attacked].double().mean()),
        "error": float(wrong[~attacked].double().mean()),
    }  # fmt: skip


def _coordinates(cell: Cell) -> dict[str, Any]:
    """The kernel over a few coordinates of each parameter tensor, and the ranking that follows from it."""
    task = two_classes(cell.data, cell.classes, cell.n, cell.m, cell.seed)
    this = problem(cell, task.inputs, task.targets, task.eval_inputs)
    residual = this.residual()
    kernel, kernel_eval = this.kernels()
    full = closed_form_scores(cell, kernel, residual, kernel_eval)
    result: dict[str, list[float]] = {"error": [], "spearman": [], "spearman_horizon": []}
    single = copy.deepcopy(this.model).float()  # its rounding is far below the error of sampling
    images = torch.cat([this.inputs, this.eval_inputs]).float()
    for coordinates in cell.coordinates:
        sampled = sampled_ntk(single, images, coordinates=coordinates, seed=cell.seed)[:, 0, : cell.n, 0].double()
        own, own_eval = sampled.split([cell.n, cell.m])
        scores = closed_form_scores(cell, own, residual, own_eval)
        result["error"].append(float((own - kernel).norm() / kernel.norm()))
        for ending in ("", "_horizon"):
            result[f"spearman{ending}"].append(agreement(scores[f"f_si{ending}"], full[f"f_si{ending}"]))
    return result


_MEASURES = {
    "mislabelled": _labels,
    "clean": _labels,
    "subclass": _subclass,
    "sources": _sources,
    "adversarial": _adversarial,
    "coordinates": _coordinates,
}
