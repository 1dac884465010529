"""Do distinct images tell more than jittered copies of a few, and what is left of an example that has a twin?"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from infocap.experiments.sample_information.applications import application
from infocap.experiments.sample_information.detection import Cell
from infocap.experiments.sample_information.methods.closed_form import to_the_end
from infocap.experiments.sample_information.problem import problem
from infocap.experiments.sample_information.tasks import two_classes
from infocap.experiments.streams import stream
from infocap.sample_information.closed_form import leave_one_out


@application("sources")
def sources(cell: Cell) -> dict[str, Any]:
    """``n`` distinct images beside ``n`` jittered copies of ``n / copies`` other ones; then, exact twins."""
    bases = cell.n // cell.copies
    task = two_classes(cell.data, cell.classes, cell.n + bases, cell.m, cell.seed)
    copied = task.inputs[cell.n :].repeat_interleave(cell.copies, 0)
    jittered = shifted(copied, stream("jitter", cell.seed))
    inputs = torch.cat([task.inputs[: cell.n], jittered])
    targets = torch.cat([task.targets[: cell.n], task.targets[cell.n :].repeat_interleave(cell.copies)])
    this = problem(cell, inputs, targets, task.eval_inputs)

    def f_si(places: Tensor, groups: Tensor | None = None) -> Tensor:
        kernel, kernel_eval = this.kernel[places][:, places], this.kernel_eval[:, places]
        out = leave_one_out(kernel, this.residual[places], kernel_eval, groups=groups, **to_the_end(cell))
        return out.functional_sample_information()

    alone, everything = torch.arange(cell.n), this.left_out(**to_the_end(cell)).functional_sample_information()
    with_twins = torch.cat([alone, alone[: cell.twins]])
    before, after, pairs = f_si(alone), f_si(with_twins), f_si(with_twins, with_twins)
    twin = alone < cell.twins

    def change(new: Tensor, chosen: Tensor) -> float:
        return float(new[: cell.n][chosen].mean() / before[chosen].mean())

    return {
        "f_si": everything,
        "source": (torch.arange(len(inputs)) >= cell.n).long(),
        "ratio": float(everything[: cell.n].mean() / everything[cell.n :].mean()),
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
