"""Many networks at once against one at a time."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from infocap.label_noise.limit import limit_losses
from infocap.networks import build, seeded
from infocap.networks.pairs import WithAuxiliary
from infocap.training import _mlp, fit, fit_many, predict
from infocap.training import many as module

POOL, SUBSET, M = 30, 18, 3

SUBSETS = torch.stack([torch.randperm(POOL, generator=torch.Generator().manual_seed(i))[:SUBSET] for i in range(M)])

ARCHITECTURES = {
    "mlp": (4, lambda: build("mlp", 3, in_features=16, widths=(8, 8), batch_norm=False)),
    "linear": (4, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3))),
    "lenet": (12, lambda: build("lenet", 3, image_size=12, width_factor=0.25)),
    "cnn": (28, lambda: build("cnn", 3, batch_norm=False)),
}
CONVOLUTIONS = {
    "small_cnn": (40, lambda: build("small_cnn", 3, image_size=40)),
    "wide_cnn": (40, lambda: build("small_cnn", 3, image_size=40, width=16)),
}


@pytest.fixture(scope="session")
def many(optimizers):
    """Five steps of ``fit_many``, unless told otherwise."""

    def run(build, inputs, targets, *, subsets=SUBSETS, **options):
        defaults = {
            "init_seeds": [0, 1, 2],
            "order_seeds": [7, 8, 7],
            "loss": cross_entropy,
            "optimizer": optimizers["momentum"],
            "steps": 5,
            "batch_size": 8,
        }
        return fit_many(build, inputs, targets, subsets, **defaults | options)

    return run


def singly(build, inputs, targets, subsets, *, init_seeds, order_seeds, record=None, eval_inputs=None, **options):
    """M calls of ``fit``."""
    runs, logits = [], []
    for rows, init_seed, order_seed in zip(subsets, init_seeds, order_seeds, strict=True):
        look = (lambda step, model: predict(model, eval_inputs)) if record else None
        model = seeded(build, init_seed)
        run = fit(
            model,
            inputs[rows],
            targets[rows],
            generator=torch.Generator().manual_seed(order_seed),
            record=look,
            **options,
        )
        runs.append(run)
    weights = [run.model.state_dict() for run in runs]
    logits = {step: torch.stack([run.records[step] for run in runs]) for step in runs[0].records}
    return (
        {name: torch.stack([state[name] for state in weights]) for name in weights[0]},
        torch.stack([run.losses for run in runs], dim=1),
        {step: record(step, value) for step, value in logits.items()},
    )


CASES = [
    (name, optimizer, dtype, 60 if (name, optimizer, steps) == ("cnn", "adam", 200) else steps, atol)
    for name in ARCHITECTURES
    for optimizer in ("momentum", "adam")
    for dtype, steps, atol in [(torch.float64, 200, 1e-10), (torch.float32, 5, 1e-5)]
]


@pytest.mark.parametrize("name, optimizer, dtype, steps, atol", CASES)
def test_batched_equals_one_by_one_equals_single_runs(images, optimizers, close, name, optimizer, dtype, steps, atol):
    size, architecture = ARCHITECTURES[name]
    if name == "cnn":  # two tiny batches keep two hundred steps of the large network short
        rows, batch_size = SUBSETS[:2, :5], 2
    else:
        rows, batch_size = SUBSETS, 8  # 18 = 8 + 8 + 2
    inputs, targets = images(POOL, size, dtype=dtype)
    options = {
        "init_seeds": [0, 1, 0][: len(rows)],
        "order_seeds": [7, 8, 7][: len(rows)],
        "loss": cross_entropy,
        "optimizer": partial(torch.optim.Adam, lr=1e-3) if optimizer == "adam" else optimizers["momentum"],
        "steps": steps,
        "batch_size": batch_size,
        "record": lambda step, logits: logits.clone(),
        "eval_inputs": inputs[:6],
        "record_at": [steps, 0, 1],
    }

    def make():
        return architecture().to(dtype)

    weights, losses, records = singly(make, inputs, targets, rows, **options)
    assert losses.shape == (steps, len(rows))
    assert steps < 60 or losses[-5:].mean() < 0.9 * losses[:5].mean()
    for batched in (True, False):
        fits = fit_many(make, inputs, targets, rows, batched=batched, **options)
        assert list(fits.weights) == list(weights) and list(fits.records) == [0, 1, steps]
        close(fits.losses, losses, atol)
        for key in weights:
            close(fits.weights[key], weights[key], atol)
            assert not fits.weights[key].requires_grad
        for step in records:
            assert fits.records[step].shape == (len(rows), 6, 3)
            close(fits.records[step], records[step], 10 * atol)


@pytest.mark.parametrize("batched", [True, False])
def test_equal_seeds_share_initialization_and_order(images, close, many, batched):
    inputs, targets = images(POOL)
    same = SUBSETS[:1].expand(4, -1)
    options = {"init_seeds": [3, 3, 3, 4], "order_seeds": [5, 5, 6, 5], "batched": batched}
    options |= {"record": lambda step, logits: logits, "eval_inputs": inputs, "record_at": [0]}
    fits = many(ARCHITECTURES["mlp"][1], inputs, targets, subsets=same, **options)
    start = fits.records[0]
    close(start[1:3], start[:1].expand(2, -1, -1), 1e-6)
    assert (start[3] - start[0]).abs().max() > 1e-2
    close(fits.losses[:, 1], fits.losses[:, 0], 1e-6)
    assert (fits.losses[:, 2:] - fits.losses[:, :1]).abs().max(0).values.min() > 1e-3


@pytest.mark.parametrize("batched", [True, False])
def test_floating_targets_frozen_parameters_and_float64(images, optimizers, generator, close, batched):
    def make():
        net = build("mlp", 2, in_features=16, widths=(8,), batch_norm=False).double()
        net[1].weight.requires_grad_(False)
        return net

    inputs, targets = images(POOL, dtype=torch.float64)[0], torch.randn(POOL, 2, generator=generator(4)).double()
    options = {"loss": mse_loss, "init_seeds": [0, 1, 2], "order_seeds": [1, 2, 3], "steps": 40, "batch_size": 7}
    options["optimizer"] = optimizers["momentum"]
    weights, losses, _ = singly(make, inputs, targets, SUBSETS, **options)
    fits = fit_many(make, inputs, targets, SUBSETS, batched=batched, **options)
    assert fits.losses.dtype == torch.float64 and fits.records == {}
    close(fits.losses, losses, 1e-10)
    for key in weights:
        close(fits.weights[key], weights[key], 1e-10)
    start = torch.stack([seeded(make, seed)[1].weight for seed in range(3)])
    assert torch.equal(fits.weights["1.weight"], start)


@pytest.mark.parametrize("batched", [True, False, None])
def test_one_network_recorded_after_each_step(images, many, batched):
    inputs, targets = images(POOL)
    fits = many(
        ARCHITECTURES["linear"][1],
        inputs,
        targets,
        subsets=SUBSETS[:1],
        init_seeds=torch.tensor([3]),
        order_seeds=torch.tensor([4]),
        record=lambda step, logits: (step, tuple(logits.shape), logits.requires_grad),
        eval_inputs=inputs[:2],
        batched=batched,
    )
    assert fits.records == {step: (step, (1, 2, 3), False) for step in range(1, 6)}
    assert fits.losses.shape == (5, 1)


class Shared(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.second(torch.tanh(self.first(inputs.flatten(1))))


def test_a_shared_weight_stays_shared(images, close, many):
    inputs, targets = images(POOL, dtype=torch.float64)
    batched, single = (
        many(lambda: Shared().double(), inputs, targets, batched=flag, steps=20) for flag in (True, False)
    )
    close(batched.losses, single.losses, 1e-10)
    for key in batched.weights:
        close(batched.weights[key], single.weights[key], 1e-10)


class RandomForward(nn.Module):
    """Dropout that no module announces."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, inputs):
        return self.layer(nn.functional.dropout(inputs.flatten(1), 0.5, self.training))


def by_dimension(parameters):
    groups = [{"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1}]
    return torch.optim.SGD([*groups, {"params": [p for p in parameters if p.dim() <= 1]}], lr=0.1)


class Rescaled(torch.optim.SGD):
    """Not elementwise: a step depends on the norm of the whole tensor."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad /= parameter.grad.norm() + 1
        super().step(closure)


SMALL = partial(build, "mlp", 3, in_features=16, widths=(8,))

# case: network, optimizer or the name of one, message
ONE_BY_ONE = {
    "batch-norm": (SMALL, "adam", r"the network has buffers \(batch-norm\)"),
    "dropout": (lambda: SMALL(batch_norm=False, dropout=0.5), "sgd", "the network has dropout"),
    "hidden dropout": (RandomForward, "sgd", "torch.func.vmap cannot run the network: .*random"),
    "norm": (ARCHITECTURES["mlp"][1], partial(Rescaled, lr=0.1), "Rescaled is not known to treat each entry"),
    "groups": (ARCHITECTURES["mlp"][1], by_dimension, "the optimizer groups parameters by their shape"),
}


@pytest.mark.parametrize("case", ONE_BY_ONE)
def test_what_cannot_be_batched_is_refused_or_served_exactly(images, equal_states, optimizers, many, case):
    make, optimizer, message = ONE_BY_ONE[case]
    optimizer = optimizers.get(optimizer, optimizer)
    inputs, targets = images(POOL)
    with pytest.raises(ValueError, match=f"batched: got True, but {message}.*; accepted: False or None") as caught:
        many(make, inputs, targets, optimizer=optimizer, batched=True)
    assert "\n" not in str(caught.value)
    options = {"init_seeds": [0, 1, 2], "order_seeds": [7, 8, 7], "steps": 6, "batch_size": 9}
    options |= {"loss": cross_entropy, "optimizer": optimizer, "eval_inputs": inputs, "record_at": [0, 6]}
    options["record"] = lambda step, logits: logits
    weights, losses, records = singly(make, inputs, targets, SUBSETS, **options)
    before = torch.get_rng_state()
    fits = fit_many(make, inputs, targets, SUBSETS, **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(fits.losses, losses)
    assert equal_states(fits.weights, weights)
    assert all(torch.equal(fits.records[step], records[step]) for step in (0, 6))
    last = make()
    last.load_state_dict(fits.state(2))
    assert torch.equal(predict(last, inputs), records[6][2])


def test_records_are_in_evaluation_mode(images, close, many):
    inputs, targets = images(POOL)
    look = {"record": lambda step, logits: logits, "eval_inputs": inputs[:1].expand(5, -1, -1, -1), "record_at": [0, 5]}
    fits = many(ONE_BY_ONE["dropout"][0], inputs, targets, **look)
    for logits in fits.records.values():  # equal inputs, equal outputs: no mask was drawn
        close(logits, logits[:, :1].expand(-1, 5, -1), 1e-6)

    class Mode(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1)) * (1.0 if self.training else 0.0)

    for batched in (True, False):
        fits = many(lambda: Mode(16, 3), inputs, targets, batched=batched, **look)
        assert all(torch.all(logits == 0) for logits in fits.records.values())
        assert fits.losses.std() > 1e-3  # and training went on in training mode


class Fading:
    """A loss with state and a branch on its value, which vmap could not run."""

    def __init__(self, weight):
        self.weight, self.calls = weight, 0

    def __call__(self, outputs, targets):
        self.calls += 1
        value = cross_entropy(outputs, targets)
        return self.weight / self.calls * value if value > 0 else value


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("name", ["mlp", "lenet", "small_cnn"])
def test_own_losses_a_schedule_and_shared_batches(images, optimizers, close, many, name, own):
    size, make = (ARCHITECTURES | CONVOLUTIONS)[name]
    inputs, targets = images(POOL, size, dtype=torch.float64)
    losses = {batched: [Fading(weight) for weight in (1, 2, 3)] for batched in (True, False)}
    together, apart = (
        many(
            lambda: make().double(), inputs, targets, subsets=SUBSETS[:1].expand(M, -1), order_seeds=[7] * M, steps=12,
            schedule=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=12), optimizer=optimizers["adam"],
            eval_inputs=inputs, record=lambda step, logits: logits, record_at=[0, 12],
            loss=losses[batched] if own else cross_entropy, batched=batched,
        )
        for batched in (True, False)
    )  # fmt: skip
    for key, stacked in apart.weights.items():
        close(together.weights[key], stacked, 1e-9)
    close(together.losses, apart.losses, 1e-9)
    close(together.records[12], apart.records[12], 1e-9)
    assert [one.calls for one in losses[True]] == [12 if own else 0] * M  # each once per step


@pytest.mark.parametrize("shared", [True, False])
def test_more_networks_than_take_a_step_together(images, close, many, monkeypatch, shared):
    monkeypatch.setattr(module, "TOGETHER", 2)
    inputs, targets = images(POOL, 4, dtype=torch.float64)
    build = lambda: ARCHITECTURES["mlp"][1]().double()  # noqa: E731
    options = {"record": lambda step, logits: logits, "eval_inputs": inputs, "record_at": [0, 5]}
    if shared:
        options |= {"subsets": SUBSETS[:1].expand(M, -1), "order_seeds": [7] * M}
    together, apart = (many(build, inputs, targets, batched=batched, **options) for batched in (True, False))
    for key, stacked in apart.weights.items():
        close(together.weights[key], stacked, 1e-12)
    close(together.losses, apart.losses, 1e-12)
    close(together.records[5], apart.records[5], 1e-12)


@pytest.mark.parametrize(
    ("model", "served"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU(), nn.Linear(3, 2)), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Tanh(), nn.Linear(3, 2)), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU()), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False)), False),
        (nn.Sequential(nn.Linear(4, 3)), False),
        (nn.Linear(16, 3), False),
    ],
)
def test_which_networks_have_a_gradient_written_out(model, served):
    assert bool(_mlp.chains(model, torch.zeros(5, 1, 4, 4))) == served


@pytest.mark.parametrize("beta", [0.0, 10.0])
def test_a_pair_of_networks_under_limit(images, close, many, beta):
    def pair():
        return WithAuxiliary(*(ARCHITECTURES["mlp"][1]() for _ in range(2))).double()

    def loss(outputs, targets):
        return sum(limit_losses(*outputs, targets, beta=beta, kind="laplace"))

    inputs, targets = images(POOL, 4, dtype=torch.float64)
    together, apart = (many(pair, inputs, targets, loss=loss, batched=batched, steps=30) for batched in (True, False))
    for key, stacked in apart.weights.items():
        close(together.weights[key], stacked, 1e-9)


def test_an_output_that_the_loss_ignores_leaves_its_network_as_it_was(images, optimizers, close, many):
    def pair():
        return WithAuxiliary(*(ARCHITECTURES["mlp"][1]() for _ in range(2))).double()

    inputs, targets = images(POOL, 4, dtype=torch.float64)
    options = {"loss": lambda outputs, targets: cross_entropy(outputs[1], targets), "optimizer": optimizers["momentum"]}
    together, apart = (many(pair, inputs, targets, batched=batched, **options) for batched in (True, False))
    for key, stacked in apart.weights.items():
        close(together.weights[key], stacked, 1e-12)


def test_the_rule(images, optimizers, many, monkeypatch):
    used = []
    for path in ("_fit_batched", "_fit_one_by_one"):
        monkeypatch.setattr(module, path, lambda *rest, path=path: used.append(path) or ({}, None, {}))

    def chosen(name, batch_size=8, optimizer="adam", **options):
        size, make = (ARCHITECTURES | CONVOLUTIONS)[name]
        many(make, *images(POOL, size), batch_size=batch_size, optimizer=optimizers[optimizer], **options)
        return used.pop()

    assert chosen("mlp") == chosen("linear") == chosen("lenet") == "_fit_batched"
    assert chosen("mlp", batched=False) == "_fit_one_by_one"
    assert chosen("cnn", batched=True) == "_fit_batched"
    shared = {"subsets": SUBSETS[:1].expand(M, -1), "order_seeds": [7] * M, "batch_size": 18}
    assert chosen("small_cnn", **shared) == "_fit_batched"
    assert chosen("small_cnn", batch_size=18) == chosen("wide_cnn", **shared) == "_fit_one_by_one"
    flops = 2 * 8 * (16 * 8 + 8 * 8 + 8 * 3)  # one forward pass of one network on one batch
    for limit, path in [(flops, "_fit_one_by_one"), (flops + 1, "_fit_batched")]:
        monkeypatch.setattr(module, "BATCHED_BELOW", limit)
        assert chosen("mlp") == path


@pytest.mark.parametrize("batched", [True, False, None])
def test_the_global_generator_and_the_data_are_left_alone(images, many, batched):
    inputs, targets = images(POOL)
    copies = inputs.clone(), targets.clone(), SUBSETS.clone()
    before = torch.get_rng_state()
    many(ARCHITECTURES["mlp"][1], inputs, targets, batched=batched)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip((inputs, targets, SUBSETS), copies, strict=True))


@pytest.mark.parametrize("batched", [True, False])
def test_a_progress_bar_for_many(images, many, batched, capsys):
    inputs, targets = images(POOL)
    many(ARCHITECTURES["linear"][1], inputs, targets, batched=batched, progress=True)
    assert ("5/5" if batched else "3/3") in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"subsets": SUBSETS.int()}, ValueError, r"subsets: got torch.int32 \[3, 18\]; accepted: int64 \[M, n'\]"),
        ({"subsets": SUBSETS[0]}, ValueError, r"subsets: got torch.int64 \[18\]; accepted"),
        ({"subsets": SUBSETS[:, :0]}, ValueError, r"subsets: got torch.int64 \[3, 0\]; accepted: .*not empty"),
        ({"subsets": SUBSETS + 1}, ValueError, "subsets: got indices 1 to 30; accepted: 0 to 29"),
        ({"subsets": SUBSETS - 1}, ValueError, "subsets: got indices -1 to 28; accepted: 0 to 29"),
        ({"init_seeds": [1]}, ValueError, "init_seeds: got 1 seeds for 3 subsets; accepted: one per subset"),
        ({"order_seeds": range(4)}, ValueError, "order_seeds: got 4 seeds for 3 subsets; accepted: one per subset"),
        ({"batch_size": 19}, ValueError, "batch_size: got 19; accepted: 1 to 18, the number of training examples"),
        ({"steps": 0}, ValueError, "steps: got 0; accepted: 1 or more"),
        ({"record_at": [6]}, ValueError, "record_at: got step 6; accepted: 0 to 5"),
        ({"record": print}, ValueError, "eval_inputs: got None; record needs the inputs at which"),
        ({"targets": torch.zeros(3)}, ValueError, "targets: got 3 rows for 30 inputs"),
        ({"inputs": torch.zeros(POOL, 16).int()}, TypeError, "inputs: got torch.int32; accepted: a floating dtype"),
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1)])},
            TypeError,
            "optimizer: got SGD; accepted: a function of the param",
        ),
    ],
)
def test_errors_of_fit_many(images, many, change, error, message):
    inputs, targets = images(POOL)
    arguments = {"inputs": inputs, "targets": targets} | change
    with pytest.raises(error, match=message) as caught:
        many(ARCHITECTURES["linear"][1], arguments.pop("inputs"), arguments.pop("targets"), **arguments)
    assert "\n" not in str(caught.value)
