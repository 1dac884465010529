"""Every hot path computes where its inputs are: the device is a parameter.

One device is no real one. Its tensors hold their values in tensors on the CPU, and say that they are on ``meta``, a
device that every build of torch knows. An operation that mixes them with tensors on the CPU fails, as on CUDA, and
results must equal the CPU's bit for bit. The other device is CUDA, where it is at hand: results must then agree within
``TOLERANCE`` of their largest entry, as sums are taken in another order.
"""

import sys
from dataclasses import fields, is_dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from infocap import bounds, complexity, distillation, label_noise
from infocap.attribution import gauss_newton_influence, influence, self_confidence
from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.noisy_labels.training import METHODS
from infocap.information import expected_mutual_information
from infocap.memorization import forgetting_events, memorization_score
from infocap.networks import seeded
from infocap.sample_information import leave_one_out, sample_scores, train_linearized
from infocap.tangent import jacobian, ntk, sampled_ntk
from infocap.training import SGLD, AnchoredSGD, fit, fit_many, gradient_variance, predict

FUSED = "_get_fused_kernels_supported_devices"
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}
ELSEWHERE = torch.device("meta")
MAY_MIX = ("aten.copy_.", "aten.index.", "aten.index_put")  # CUDA too takes values and indices from the CPU


class There(Tensor):
    @staticmethod
    def __new__(cls, held: Tensor):
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=ELSEWHERE, **layout)

    def __init__(self, held: Tensor):
        self.held = held

    def __getitem__(self, index):  # torch would make a tensor without values of a list
        return super().__getitem__(torch.tensor(index, device="cpu") if isinstance(index, list) else index)

    def tolist(self):
        return self.held.tolist()

    def numpy(self, *, force=False):
        if not force:
            raise TypeError("a tensor on the device has no NumPy array")
        return self.held.numpy(force=True)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return run(function, arguments, options or {})


class Elsewhere(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return run(function, arguments, options or {})


def run(function, arguments, options):
    given = tree_leaves((arguments, options))
    wrappers = {id(x.held): x for x in given if isinstance(x, There)}
    there, name = bool(wrappers), str(function)
    if options.get("device") is not None:  # a new tensor, or a copy
        there, options = options["device"] == ELSEWHERE, options | {"device": torch.device("cpu")}
    elif there and not name.startswith(MAY_MIX):
        here = [x for x in given if isinstance(x, Tensor) and not isinstance(x, There) and x.dim()]
        if here:
            raise RuntimeError(f"{name}: tensors on two devices, one on the CPU of shape {list(here[0].shape)}")
    if name.startswith(("aten.copy_.", "aten.index_put")):
        there = isinstance(arguments[0], There)
    if name.startswith("aten.index.") and wrappers and not isinstance(arguments[0], There):
        raise RuntimeError(f"{name}: a tensor on the CPU, indices on the device")
    plain = tree_map(lambda x: x.held if isinstance(x, There) else x, (arguments, options))
    result = function(*plain[0], **plain[1])

    def wrapped(value):
        if not isinstance(value, Tensor):
            return value
        wrapper = wrappers.get(id(value))
        if wrapper is not None and wrapper.shape == value.shape:  # changed in place
            return wrapper
        return There(value) if there else value

    return tree_map(wrapped, result)


class Seeded(torch.Generator):
    """Draws on the CPU, and says that it is on the device for which it was made."""

    def __new__(cls, device="cpu"):
        generator = super().__new__(cls, "cpu" if torch.device(device) == ELSEWHERE else device)
        generator.claimed = torch.device(device)
        return generator

    device = property(lambda self: self.claimed)


@pytest.fixture(params=["elsewhere", "cuda"])
def device(request, monkeypatch):
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device at hand")
        yield torch.device("cuda", 0)
        return
    monkeypatch.setattr(sys.modules["torch.optim.optimizer"], FUSED, lambda: ["cpu", "meta"])
    monkeypatch.setattr(torch, "Generator", Seeded)
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # parameters that move are made anew
    with Elsewhere():
        yield ELSEWHERE
    torch.__future__.set_overwrite_module_params_on_conversion(False)


def results(value) -> list[Tensor]:
    """What a function returned, as tensors on the CPU."""
    found = []
    for leaf in tree_leaves(value):
        if is_dataclass(leaf):
            found += results([getattr(leaf, one.name) for one in fields(leaf) if one.name != "model"])
        elif leaf is not None and not isinstance(leaf, str):
            found.append(torch.as_tensor(leaf).detach().cpu())
    return found


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3))


def cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))


def normalized() -> nn.Module:
    return nn.Sequential(mlp(), nn.LayerNorm(3))


def on(device, *parts):
    return tuple(part.to(device) for part in parts)


def images(device):
    return on(device, torch.rand(12, 1, 8, 8, generator=seed()), torch.arange(12) % 3)


def net(device, make=mlp, dtype=torch.float32):
    return seeded(make, 0).to(device, dtype)


def problem(device):
    factor = torch.randn(16, 24, generator=seed(), dtype=torch.float64)
    kernel = factor @ factor.T
    return on(device, kernel[:12, :12], torch.randn(12, generator=seed(1)), kernel[12:, :12])


def runs(device):
    selectors = torch.stack([bounds.complementary_selectors(6, 5, seed(z)) for z in range(2)])
    predictions, labels = (torch.randint(2, shape, generator=seed()) for shape in [(2, 6, 5, 2), (2, 5, 2)])
    return bounds.SupersampleRuns(*on(device, selectors, predictions, labels), 2)


adam = partial(torch.optim.Adam, lr=0.01, fused=True)


def trained(device, make=mlp, optimizer=adam):
    model, (inputs, labels) = net(device, make), images(device)
    return fit(
        model, inputs, labels, loss=cross_entropy, optimizer=optimizer, steps=4, batch_size=5,
        generator=seed(), keep=[4], record=lambda step, model: predict(model, inputs),
    )  # fmt: skip


def many(device, make=mlp, **options):
    inputs, labels = images(device)
    return fit_many(
        make, inputs, labels, torch.stack([torch.arange(9), torch.arange(3, 12)]), init_seeds=[0, 1],
        order_seeds=[0, 1], loss=cross_entropy, optimizer=adam, steps=4, batch_size=5,
        record=lambda step, logits: logits, eval_inputs=inputs, record_at=[0, 4], **options,
    )  # fmt: skip


def limit(device, kind):
    generator = torch.Generator(device).manual_seed(0)
    if device.type == "cuda":  # its generator draws other numbers
        generator = None
    logits, (_, labels) = logits_of(device), images(device)
    return label_noise.limit_losses(
        logits, logits.flip(0), labels, beta=2.0, kind=kind, noise_std=0.1 if generator else 0.0, generator=generator
    )


def logits_of(device):
    return torch.randn(12, 3, generator=seed()).to(device)


def losses(device):
    logits, (_, labels) = logits_of(device), images(device)
    transition = torch.full((3, 3), 0.1).fill_diagonal_(0.8).to(device)
    early = label_noise.EarlyLearningRegularization(num_examples=12, num_classes=3)
    return [
        *(loss(logits, labels) for loss in (label_noise.mae_loss, label_noise.gce_loss, label_noise.dmi_loss)),
        label_noise.forward_loss(logits, labels, transition),
        early(logits, torch.stack([labels, torch.arange(12, device=device)], 1)),
        label_noise.co_teaching_loss(logits, logits.flip(0), labels, forget_rate=0.3),
        label_noise.mislabel_score(logits, labels),
        label_noise.estimate_transition(logits),
    ]


def members(device):
    drawn = torch.stack([torch.arange(6) % 2, torch.arange(6) // 3])
    drawn = torch.cat([drawn, 1 - drawn] * 2)
    return on(device, drawn, torch.randint(2, drawn.shape, generator=seed()))


def teaching(device):
    student, teacher, (_, labels) = logits_of(device), logits_of(device).flip(0), images(device)
    return [
        distillation.distillation_loss(student, teacher, labels, temperature=2.0, alpha=0.5),
        distillation.fidelity(student, teacher),
        distillation.predictive_kl(student, teacher),
    ]


def pooled() -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 3))


def gauss_newton(device, make):
    inputs, labels = images(device)
    return gauss_newton_influence(net(device, make), inputs, one_hot(labels, 3).float(), inputs[:4], damping=0.1)


HORIZONS = {
    "to the end": {"ridge": 0.1},
    "poles": {"learning_rate": 0.005, "steps": 200},
    "renewal": {"learning_rate": 0.02, "steps": 3},
    "flow": {"time": 2.0, "leave_out_factor": 1.1},
}
CALLS = {
    "fit": trained,
    "fit with batch-norm": partial(trained, make=cnn),
    "fit with an anchor": partial(trained, optimizer=partial(AnchoredSGD, lr=0.1, weight_decay=0.1)),
    "fit_many batched": partial(many, batched=True),
    "fit_many one by one": partial(many, make=cnn),
    "gradient_variance": lambda device: gradient_variance(net(device), *images(device), cross_entropy),
    "ntk": lambda device: ntk(net(device, cnn), images(device)[0]),
    "ntk of two sets, chunks": lambda device: ntk(
        net(device, cnn), images(device)[0], images(device)[0][:4], chunk_size=3
    ),
    "ntk, general path": lambda device: ntk(net(device, normalized), images(device)[0]),
    "sampled_ntk": lambda device: sampled_ntk(net(device), images(device)[0], coordinates=7),
    "jacobian": lambda device: jacobian(net(device), images(device)[0]),
    **{
        f"leave_one_out, {name}": lambda device, options=options: leave_one_out(*problem(device), **options)
        for name, options in HORIZONS.items()
    },
    "leave_one_out, groups": lambda device: [
        leave_one_out(*problem(device), groups=torch.arange(12) // 2, **HORIZONS[name])
        for name in ("to the end", "poles", "renewal")
    ],
    "train_linearized": lambda device: [
        train_linearized(*problem(device), ridge=0.1),
        train_linearized(*problem(device), learning_rate=0.005, steps=[0, 3, 200]),
    ],
    "sample_scores": lambda device: sample_scores(
        net(device, dtype=torch.float64), images(device)[0].double(), one_hot(images(device)[1], 3).double(),
        images(device)[0][:4].double(), ridge=0.1,
    ),
    "influence": lambda device: influence(*problem(device), ridge=0.1),
    "Gauss-Newton influence": partial(gauss_newton, make=mlp),
    "Gauss-Newton influence among weights": partial(gauss_newton, make=pooled),
    "self_confidence": lambda device: self_confidence(
        mlp, *images(device), folds=3, steps=2, batch_size=4, optimizer=torch.optim.SGD
    ),
    "complexity": lambda device: [
        complexity.supervision_complexity(problem(device)[0], problem(device)[1]),
        complexity.complexity_shares(problem(device)[0], problem(device)[1]),
        complexity.margin_bound(*problem(device)[:2], problem(device)[1].sign().long(), margin=1.0, delta=0.1),
        complexity.ntk_similarity(problem(device)[0], problem(device)[0].square(), centered=True),
    ],
    "complexity of a singular kernel": lambda device: complexity.supervision_complexity(
        *on(device, torch.ones(4, 4, dtype=torch.float64), torch.ones(4))
    ),
    "bounds": lambda device: [list(np.nan_to_num(v)) for v in bounds.all_bounds(runs(device))["values"]],
    "f-CMI estimates": lambda device: [
        bounds.row_information(runs(device), correction=correction) for correction in bounds.CORRECTIONS
    ],
    "expected_mutual_information": lambda device: expected_mutual_information(
        torch.tensor([[1, 2], [3, 1]]).to(device)
    ),
    "losses of part 1": losses,
    "LIMIT, gaussian": partial(limit, kind="gaussian"),
    "LIMIT, laplace": partial(limit, kind="laplace"),
    "memorization": lambda device: memorization_score(*members(device)),
    "forgetting": lambda device: forgetting_events(members(device)[1]),
    "distillation": teaching,
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_results_do_not_depend_on_the_device(name, device):
    call = CALLS[name]
    for one, other in zip(results(call(torch.device("cpu"))), results(call(device)), strict=True):
        if device == ELSEWHERE or not one.is_floating_point():
            # what an operation squeezes in place keeps its axes on the imitated device
            torch.testing.assert_close(other.reshape(one.shape), one, rtol=0, atol=0, equal_nan=True)
        else:
            scale = float(one.abs().max()) if one.numel() else 0.0
            torch.testing.assert_close(other, one, rtol=0, atol=TOLERANCE[one.dtype] * max(scale, 1e-12))


def test_langevin_noise_is_drawn_where_the_weights_are(device):
    flat = torch.full((4,), 1e-3)
    optimizer = partial(SGLD, learning_rates=flat, inverse_temperatures=1e4 * torch.ones(4))
    assert all(loss.isfinite() for loss in trained(device, optimizer=optimizer).losses)


TABLES, SMOKE = CATALOGUE.tables, CATALOGUE.load_profile("smoke")
CELLS = {name: SMOKE.cells(name)[0] for name in TABLES if hasattr(SMOKE.cells(name)[0], "device")}


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_of_each_table_runs_on_the_device(name, device, monkeypatch):
    made = []
    monkeypatch.setattr(There, "__init__", lambda self, held: made.append(setattr(self, "held", held)))
    there = results(TABLES[name].measure(replace(CELLS[name], device=str(device))))
    if device == ELSEWHERE:
        assert made
        for one, other in zip(results(TABLES[name].measure(CELLS[name])), there, strict=True):
            torch.testing.assert_close(other.reshape(one.shape), one, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("method", list(METHODS))
def test_all_methods_of_part_1_run_on_the_device(method, device):
    measure = TABLES["noisy_labels/training"].measure
    cell = replace(CELLS["noisy_labels/training"], method=method, epochs=1)
    there = results(measure(replace(cell, device=str(device))))
    if device == ELSEWHERE:
        for one, other in zip(results(measure(cell)), there, strict=True):
            torch.testing.assert_close(other.reshape(one.shape), one, rtol=0, atol=0, equal_nan=True)


def test_the_imitated_device_refuses_tensors_of_the_cpu(device):
    values = torch.arange(6.0).view(2, 3).to(device)
    with pytest.raises(RuntimeError, match="device"):
        values + torch.ones(3)
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(4, 2) @ values
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(6)[values.long()]
    assert values.device == device and (2 * values).device == device and torch.ones(3, device=device).device == device
    assert values.cpu().device.type == "cpu" and float(values.sum()) == 15
    values[:, torch.tensor([0, 2])] = 0  # CUDA allows it too
    assert values.cpu().tolist() == [[0, 1, 0], [0, 4, 0]]
