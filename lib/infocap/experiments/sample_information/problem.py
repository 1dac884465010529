"""What does a score of a training example see? A network at its initialization, and what it is trained on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from infocap import networks
from infocap.experiments.sample_information.tasks import normalize
from infocap.experiments.streams import initialization
from infocap.sample_information.closed_form import LeaveOneOut, leave_one_out
from infocap.tangent import ntk
from infocap.training.loop import predict

__all__ = ["Problem", "network", "problem"]


@dataclass(frozen=True)
class Problem:
    """A network with one output and its data; kernels and solutions are computed when they are first asked for.

    Attributes:
        model: At the weights at which it is linearized.
        inputs: ``[n, channels, H, W]``, training images.
        targets: ``[n]``, 0 or 1; some may be wrong.
        eval_inputs: ``[m, channels, H, W]``, over which changes of predictions are averaged.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    eval_inputs: Tensor

    @cached_property
    def kernel(self) -> Tensor:
        """The tangent kernel of the training images, ``[n, n]`` in float64."""
        return ntk(self.model, self.inputs)[:, 0, :, 0].double()

    @cached_property
    def kernel_eval(self) -> Tensor:
        """That between evaluation and training images, ``[m, n]`` in float64."""
        return ntk(self.model, self.eval_inputs, self.inputs)[:, 0, :, 0].double()

    @cached_property
    def residual(self) -> Tensor:
        """Targets minus the network's outputs, ``[n]`` in float64."""
        return self.targets.double() - predict(self.model, self.inputs)[:, 0].double()

    @cached_property
    def _solved(self) -> dict[tuple, LeaveOneOut]:
        return {}

    def left_out(self, **training: Any) -> LeaveOneOut:
        """``leave_one_out`` of the linearized network, trained as its keyword arguments say; once for each."""
        key = tuple(sorted(training.items()))
        if key not in self._solved:
            self._solved[key] = leave_one_out(self.kernel, self.residual, self.kernel_eval, **training)
        return self._solved[key]


def problem(cell: Any, inputs: Tensor, targets: Tensor, eval_inputs: Tensor) -> Problem:
    """The cell's network of ``width`` hidden units and a training set for it, in float64 on the cell's device."""
    model = network(cell, inputs, widths=(cell.width,)).to(cell.device).double()
    inputs, eval_inputs = (normalize(cell.data, images).to(cell.device).double() for images in (inputs, eval_inputs))
    return Problem(model, inputs, targets.to(cell.device).double(), eval_inputs)


def network(cell: Any, images: Tensor, num_outputs: int = 1, **options: Any) -> nn.Module:
    """The cell's architecture, without batch-norm, for images ``[..., channels, H, W]``, at its initial weights.

    ``options`` reach the architectures that have them.
    """
    image, seed = tuple(images.shape[1:]), initialization(cell.seed)
    return networks.build_for(cell.network, image, num_outputs, seed=seed, batch_norm=False, **options)
