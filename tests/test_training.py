"""The training loop against loops written out by hand, and many networks at once against one at a time."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from infocap import training
from infocap.networks import build, seeded
from infocap.training import fit, fit_many, predict

N = 22

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=1e-2),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=N, size=4, classes=3, dtype=torch.float32, seed=0):
    g = generator(seed)
    return torch.randn(n, 1, size, size, generator=g).to(dtype), torch.randint(classes, (n,), generator=g)


def small(seed=0, **options):
    return build("mlp", 3, seed=seed, in_features=16, widths=(8,), **options)


def equal_states(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def train(model, *data, loss=cross_entropy, optimizer=OPTIMIZERS["sgd"], steps=7, batch_size=8, seed=0, **options):
    options = {"generator": generator(seed)} | options
    return fit(model, *data, loss=loss, optimizer=optimizer, steps=steps, batch_size=batch_size, **options)


def by_hand(model, inputs, targets, loss, optimizer, steps, batch_size, seed=0, schedule=None, augment=None):
    """Forward, backward, step; the order of examples is a permutation per epoch, cut into batches."""
    g = generator(seed)
    torch.randint(2**62, (), generator=g)  # the seed of random layers comes first
    model.train()
    optimizer = optimizer(model.parameters())
    scheduler = schedule(optimizer) if schedule else None
    losses, order = [], []
    for _ in range(steps):
        if len(order) == 0:
            order = torch.randperm(len(inputs), generator=g)
        rows, order = order[:batch_size], order[batch_size:]
        batch = inputs[rows]
        if augment:
            batch = augment(batch, g)
        value = loss(model(batch), targets[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(value.detach())
    return torch.stack(losses)


# fit


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", [None, partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)])
@pytest.mark.parametrize("augment", [None, lambda batch, g: batch + torch.randn(batch.shape, generator=g)])
def test_fit_is_the_plain_loop(optimizer, schedule, augment):
    data, ours, plain = images(), small(), small()
    options = {"schedule": schedule, "augment": augment}
    run = train(ours, *data, optimizer=OPTIMIZERS[optimizer], **options)
    losses = by_hand(plain, *data, cross_entropy, OPTIMIZERS[optimizer], 7, 8, **options)  # 22 = 8 + 8 + 6
    assert run.model is ours and ours.training
    assert torch.equal(run.losses, losses) and not run.losses.requires_grad
    assert equal_states(ours.state_dict(), plain.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_targets(dtype):
    inputs, labels = images(dtype=dtype)
    targets = torch.randn(N, 3, generator=generator(1)).to(dtype)
    ours, plain = small().to(dtype), small().to(dtype)
    run = train(ours, inputs, targets, loss=mse_loss)
    assert torch.equal(run.losses, by_hand(plain, inputs, targets, mse_loss, OPTIMIZERS["sgd"], 7, 8))
    assert run.losses.dtype == dtype and equal_states(ours.state_dict(), plain.state_dict())


def test_an_epoch_visits_each_example_once():
    seen = []

    def loss(outputs, rows):
        seen.append(rows.tolist())
        return outputs.mean()

    train(small(batch_norm=False), images()[0], torch.arange(N), loss=loss, steps=7)
    assert [len(rows) for rows in seen] == [8, 8, 6, 8, 8, 6, 8]
    epochs = [sum(seen[:3], []), sum(seen[3:6], [])]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs) and epochs[0] != epochs[1]


def test_one_batch_may_be_the_whole_set():
    data = images()
    assert len(train(small(), *data, steps=3, batch_size=N).losses) == 3


def test_records_and_checkpoints():
    data, model = images(), small()
    start = copy.deepcopy(model.state_dict())
    visits, gradients, weights = [], [], {}

    def record(step, network):
        assert network is model
        visits.append(step)
        gradients.append(torch.is_grad_enabled())
        weights[step] = copy.deepcopy(network.state_dict())
        return 10 * step

    run = train(model, *data, record=record, record_at=[7, 0, 3], keep=[0, 3, 7])
    assert visits == [0, 3, 7] and not any(gradients)
    assert run.records == {0: 0, 3: 30, 7: 70}
    assert sorted(run.checkpoints) == [0, 3, 7]
    assert equal_states(run.checkpoints[0], start)
    assert equal_states(run.checkpoints[7], model.state_dict())
    assert all(equal_states(run.checkpoints[step], weights[step]) for step in weights)
    shorter = small()
    train(shorter, *data, steps=3)
    assert equal_states(run.checkpoints[3], shorter.state_dict())  # buffers and all
    assert not equal_states(run.checkpoints[3], run.checkpoints[7])

    assert list(train(small(), *data, steps=3, record=lambda step, network: step).records) == [1, 2, 3]
    quiet = train(small(), *data, steps=3)
    assert quiet.records == {} and quiet.checkpoints == {}


def test_looking_changes_nothing():
    data, looked_at, left_alone = images(), small(dropout=0.5), small(dropout=0.5)

    def record(step, network):
        network.eval()
        torch.rand(100)
        return network(data[0])

    run = train(looked_at, *data, record=record, record_at=range(8))
    assert torch.equal(run.losses, train(left_alone, *data).losses)
    assert equal_states(looked_at.state_dict(), left_alone.state_dict())
    assert looked_at.training and all(module.training for module in looked_at.modules())
    assert not torch.equal(run.records[0], run.records[7])


def test_random_layers_follow_the_generator_and_not_the_global_one():
    data = images()
    runs = []
    for scramble, seed in [(1, 0), (2, 0), (1, 3)]:
        model = small(dropout=0.5)
        torch.manual_seed(scramble)
        before = torch.get_rng_state()
        runs.append(train(model, *data, seed=seed).losses)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_each_step_draws_a_new_mask():
    masks = []

    def loss(outputs, targets):
        masks.append(outputs.detach() == 0)
        return outputs.mean()

    layer = nn.Linear(4, 30, bias=False)
    nn.init.ones_(layer.weight)
    train(nn.Sequential(layer, nn.Dropout(0.5)), torch.ones(8, 4), torch.zeros(8), loss=loss, steps=2)
    assert not torch.equal(*masks) and 0.3 < masks[0].float().mean() < 0.7


def test_frozen_parameters_stay_and_the_optimizer_does_not_see_them():
    model, sizes = small(), []
    model[1].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())

    def optimizer(parameters):
        sizes.append(len(parameters))
        return torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1)

    train(model, *images(), optimizer=optimizer)
    assert sizes == [len(list(model.parameters())) - 1]
    assert torch.equal(model[1].weight, before["1.weight"])
    assert not torch.equal(model[1].bias, before["1.bias"])


def test_a_progress_bar_on_request(capsys):
    train(small(), *images(), progress=True)
    assert "7/7" in capsys.readouterr().err
    train(small(), *images())
    assert capsys.readouterr().err == ""


GOOD = {"steps": 3, "batch_size": 4}
NAN, OVERFLOW = torch.zeros(N, 1, 4, 4), torch.full((N, 1, 4, 4), 3e38)
NAN[5, 0, 1, 2] = float("nan")


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"inputs": torch.zeros(0, 16)}, ValueError, "inputs: got an empty set; accepted: at least one example"),
        ({"targets": torch.zeros(3)}, ValueError, "targets: got 3 rows for 22 inputs; accepted: one per input"),
        ({"inputs": torch.zeros(N, 16).long()}, TypeError, "inputs: got torch.int64; accepted: a floating dtype"),
        (
            {"optimizer": torch.optim.SGD([torch.zeros(1)])},
            TypeError,
            "optimizer: got SGD; accepted: a function of the param",
        ),
        ({"optimizer": torch.optim.LBFGS}, TypeError, "optimizer: got LBFGS; accepted: optimizers that step without"),
        (
            {"schedule": torch.optim.lr_scheduler.ReduceLROnPlateau},
            TypeError,
            "schedule: got ReduceLROnPlateau; accepted: schedulers that step without a measured value",
        ),
        ({"inputs": NAN}, ValueError, "inputs: example 5 has a value that is NaN or infinite; accepted: finite"),
        ({"inputs": NAN.sum((1, 2, 3))}, ValueError, "inputs: example 5 has a value that is NaN or infinite"),
        ({"targets": NAN}, ValueError, "targets: example 5 has a value that is NaN or infinite"),
        ({"steps": 0}, ValueError, "steps: got 0; accepted: 1 or more"),
        ({"batch_size": 0}, ValueError, "batch_size: got 0; accepted: 1 to 22, the number of training examples"),
        ({"batch_size": 23}, ValueError, "batch_size: got 23; accepted: 1 to 22"),
        ({"keep": [4]}, ValueError, "keep: got step 4; accepted: 0 to 3"),
        ({"record_at": [-1]}, ValueError, "record_at: got step -1; accepted: 0 to 3"),
    ],
)
def test_errors_of_fit(change, error, message):
    inputs, targets = images()
    arguments = {"inputs": inputs, "targets": targets} | GOOD | change
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message) as caught:
        train(model, arguments.pop("inputs"), arguments.pop("targets"), **arguments)
    assert "\n" not in str(caught.value) and equal_states(model.state_dict(), before)


def test_large_finite_values_are_accepted():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    train(model, OVERFLOW, torch.zeros(N).long(), loss=lambda outputs, targets: outputs.mean() * 0)


def test_predict_is_the_evaluation_mode_in_batches_and_restores_the_mode():
    inputs, model = images()[0], small(dropout=0.5)
    model[2].running_mean.fill_(0.3)
    expected = copy.deepcopy(model).eval()(inputs).detach()
    for training_mode in (True, False):
        model.train(training_mode)
        outputs = predict(model, inputs, batch_size=5)
        torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
        assert model.training is training_mode and model[4].training is training_mode
        assert not outputs.requires_grad
    assert torch.all(model[2].running_mean == 0.3)


# fit_many

POOL, SUBSET, M = 30, 18, 3
SUBSETS = torch.stack([torch.randperm(POOL, generator=generator(i))[:SUBSET] for i in range(M)])

ARCHITECTURES = {
    "mlp": (4, lambda: build("mlp", 3, in_features=16, widths=(8, 8), batch_norm=False)),
    "linear": (4, lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3))),
    "lenet": (12, lambda: build("lenet", 3, image_size=12, width_factor=0.25)),
    "cnn": (28, lambda: build("cnn", 3, batch_norm=False)),
}


def many(build, inputs, targets, **options):
    defaults = {
        "init_seeds": [0, 1, 2],
        "order_seeds": [7, 8, 7],
        "loss": cross_entropy,
        "optimizer": OPTIMIZERS["momentum"],
        "steps": 5,
        "batch_size": 8,
    }
    subsets = options.pop("subsets", SUBSETS)
    return fit_many(build, inputs, targets, subsets, **defaults | options)


def singly(build, inputs, targets, subsets, *, init_seeds, order_seeds, record=None, eval_inputs=None, **options):
    """M calls of ``fit``."""
    runs, logits = [], []
    for rows, init_seed, order_seed in zip(subsets, init_seeds, order_seeds, strict=True):
        look = (lambda step, model: predict(model, eval_inputs)) if record else None
        model = seeded(build, init_seed)
        run = fit(model, inputs[rows], targets[rows], generator=generator(order_seed), record=look, **options)
        runs.append(run)
    weights = [run.model.state_dict() for run in runs]
    logits = {step: torch.stack([run.records[step] for run in runs]) for step in runs[0].records}
    return (
        {name: torch.stack([state[name] for state in weights]) for name in weights[0]},
        torch.stack([run.losses for run in runs], dim=1),
        {step: record(step, value) for step, value in logits.items()},
    )


def close(a, b, atol):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


CASES = [
    (name, optimizer, dtype, 60 if (name, optimizer, steps) == ("cnn", "adam", 200) else steps, atol)
    for name in ARCHITECTURES
    for optimizer in ("momentum", "adam")
    for dtype, steps, atol in [(torch.float64, 200, 1e-10), (torch.float32, 5, 1e-5)]
]


@pytest.mark.parametrize("name, optimizer, dtype, steps, atol", CASES)
def test_batched_equals_one_by_one_equals_single_runs(name, optimizer, dtype, steps, atol):
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
        "optimizer": partial(torch.optim.Adam, lr=1e-3) if optimizer == "adam" else OPTIMIZERS["momentum"],
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
def test_equal_seeds_share_initialization_and_order(batched):
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
def test_floating_targets_frozen_parameters_and_float64(batched):
    def make():
        net = build("mlp", 2, in_features=16, widths=(8,), batch_norm=False).double()
        net[1].weight.requires_grad_(False)
        return net

    inputs, targets = images(POOL, dtype=torch.float64)[0], torch.randn(POOL, 2, generator=generator(4)).double()
    options = {"loss": mse_loss, "init_seeds": [0, 1, 2], "order_seeds": [1, 2, 3], "steps": 40, "batch_size": 7}
    options["optimizer"] = OPTIMIZERS["momentum"]
    weights, losses, _ = singly(make, inputs, targets, SUBSETS, **options)
    fits = fit_many(make, inputs, targets, SUBSETS, batched=batched, **options)
    assert fits.losses.dtype == torch.float64 and fits.records == {}
    close(fits.losses, losses, 1e-10)
    for key in weights:
        close(fits.weights[key], weights[key], 1e-10)
    start = torch.stack([seeded(make, seed)[1].weight for seed in range(3)])
    assert torch.equal(fits.weights["1.weight"], start)


@pytest.mark.parametrize("batched", [True, False, None])
def test_one_network_recorded_after_each_step(batched):
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


def test_a_shared_weight_stays_shared():
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


ONE_BY_ONE = {
    "batch-norm": (lambda: small(None), OPTIMIZERS["adam"], r"the network has buffers \(batch-norm\)"),
    "dropout": (lambda: small(None, batch_norm=False, dropout=0.5), OPTIMIZERS["sgd"], "the network has dropout"),
    "hidden dropout": (RandomForward, OPTIMIZERS["sgd"], "torch.func.vmap cannot run the network: .*random"),
    "norm": (ARCHITECTURES["mlp"][1], partial(Rescaled, lr=0.1), "Rescaled is not known to treat each entry"),
    "groups": (ARCHITECTURES["mlp"][1], by_dimension, "the optimizer groups parameters by their shape"),
}


@pytest.mark.parametrize("case", ONE_BY_ONE)
def test_what_cannot_be_batched_is_refused_or_served_exactly(case):
    make, optimizer, message = ONE_BY_ONE[case]
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


def test_records_are_in_evaluation_mode():
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


def test_the_rule(monkeypatch):
    used = []
    for path in ("_fit_batched", "_fit_one_by_one"):
        monkeypatch.setattr(training, path, lambda *rest, path=path: used.append(path))

    def chosen(name, batch_size=8, optimizer="adam", **options):
        size, make = ARCHITECTURES[name]
        many(make, *images(POOL, size), batch_size=batch_size, optimizer=OPTIMIZERS[optimizer], **options)
        return used.pop()

    assert chosen("mlp") == chosen("linear") == chosen("lenet") == "_fit_batched"
    assert chosen("mlp", batched=False) == "_fit_one_by_one"
    assert chosen("cnn", batched=True) == "_fit_batched"
    flops = 2 * 8 * (16 * 8 + 8 * 8 + 8 * 3)  # one forward pass of one network on one batch
    for limit, path in [(flops, "_fit_one_by_one"), (flops + 1, "_fit_batched")]:
        monkeypatch.setattr(training, "BATCHED_BELOW", limit)
        assert chosen("mlp") == path


@pytest.mark.parametrize("batched", [True, False, None])
def test_the_global_generator_and_the_data_are_left_alone(batched):
    inputs, targets = images(POOL)
    copies = inputs.clone(), targets.clone(), SUBSETS.clone()
    before = torch.get_rng_state()
    many(ARCHITECTURES["mlp"][1], inputs, targets, batched=batched)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip((inputs, targets, SUBSETS), copies, strict=True))


@pytest.mark.parametrize("batched", [True, False])
def test_a_progress_bar_for_many(batched, capsys):
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
def test_errors_of_fit_many(change, error, message):
    inputs, targets = images(POOL)
    arguments = {"inputs": inputs, "targets": targets} | change
    with pytest.raises(error, match=message) as caught:
        many(ARCHITECTURES["linear"][1], arguments.pop("inputs"), arguments.pop("targets"), **arguments)
    assert "\n" not in str(caught.value)


# AnchoredSGD


@pytest.mark.parametrize("decay", [0.0, 0.8])
@pytest.mark.parametrize("batched", [True, False])
def test_weight_decay_towards_the_initial_weights(batched, decay):
    """Equal to the penalty as a part of the loss, for single runs and for many at once."""

    def make():
        return ARCHITECTURES["mlp"][1]().double()

    inputs, targets = images(POOL, dtype=torch.float64)[0], torch.randn(POOL, 3, generator=generator(4)).double()
    optimizer, seeds = partial(training.AnchoredSGD, lr=0.1, weight_decay=decay), [0, 1, 2]
    options = {"loss": mse_loss, "steps": 60, "batch_size": 7}
    many_at_once = fit_many(
        make, inputs, targets, SUBSETS, init_seeds=seeds, order_seeds=seeds, optimizer=optimizer, batched=batched,
        **options,
    )  # fmt: skip
    for seed, rows in zip(seeds, SUBSETS, strict=True):
        plain, start = seeded(make, seed), seeded(make, seed)

        def penalized(outputs, labels, plain=plain, start=start):
            pairs = zip(plain.parameters(), start.parameters(), strict=True)
            return mse_loss(outputs, labels) + decay / 2 * sum((p - q.detach()).square().sum() for p, q in pairs)

        by_hand(plain, inputs[rows], targets[rows], penalized, partial(torch.optim.SGD, lr=0.1), 60, 7, seed)
        single = train(seeded(make, seed), inputs[rows], targets[rows], optimizer=optimizer, seed=seed, **options).model
        for name, tensor in plain.state_dict().items():
            close(single.state_dict()[name], tensor, 1e-10)
            close(many_at_once.weights[name][seed], tensor, 1e-10)
        assert max((p - q).abs().max() for p, q in zip(plain.parameters(), start.parameters(), strict=True)) > 0.01


def test_weights_halfway_back_and_a_weight_without_gradient():
    used, unused = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([2.0]))
    optimizer = training.AnchoredSGD([used, unused], lr=0.5, weight_decay=1.0)
    used.data, unused.data, used.grad = torch.tensor([5.0]), torch.tensor([7.0]), torch.zeros(1)
    for expected in (4.0, 3.5, 3.25):
        used.grad.zero_()
        optimizer.step()
        assert (used.item(), unused.item()) == (expected, 7.0)


# SGLD and the spread of gradients


def test_langevin_noise_has_the_stated_scale_and_no_other():
    """Without a gradient the weights after T steps are Gaussian with variance sum 2 lr / beta."""
    rates, betas = torch.tensor([0.1, 0.2, 0.05]), torch.tensor([10.0, 4.0, 100.0])
    w = torch.nn.Parameter(torch.zeros(200_000))
    w.grad = torch.zeros_like(w)
    optimizer = training.SGLD([w], learning_rates=rates, inverse_temperatures=betas)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(3):
            optimizer.step()
    variance = float((2 * rates / betas).sum())
    assert float(w.detach().var()) == pytest.approx(variance, rel=0.02)
    assert float(w.detach().mean()) == pytest.approx(0, abs=5 * (variance / 200_000) ** 0.5)


def test_cold_langevin_dynamics_is_gradient_descent_with_a_schedule():
    x, y = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    rates = torch.tensor([0.5, 0.25, 0.125])
    options = {"loss": cross_entropy, "steps": 3, "batch_size": 8}
    nets = [seeded(lambda: torch.nn.Linear(3, 2), 0) for _ in range(2)]
    cold = partial(training.SGLD, learning_rates=rates, inverse_temperatures=torch.full((3,), 1e30))
    training.fit(nets[0], x, y, optimizer=cold, generator=torch.Generator().manual_seed(1), **options)
    training.fit(
        nets[1], x, y, optimizer=partial(torch.optim.SGD, lr=0.5), generator=torch.Generator().manual_seed(1),
        schedule=lambda sgd: torch.optim.lr_scheduler.ExponentialLR(sgd, 0.5), **options,
    )  # fmt: skip
    torch.testing.assert_close(nets[0].weight, nets[1].weight)


@pytest.mark.parametrize("chunk_size", [1, 3, 64])
def test_the_spread_of_gradients_equals_a_loop_over_examples(chunk_size):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 5, generator=generator), torch.arange(7) % 3
    net = seeded(lambda: torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)), 0)
    gradients = []
    for example, label in zip(x, y, strict=True):
        net.zero_grad()
        cross_entropy(net(example[None]), label[None]).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]).double())
    gradients = torch.stack(gradients)
    wanted = float((gradients - gradients.mean(0)).square().sum(1).mean())
    net.train()
    assert training.gradient_variance(net, x, y, cross_entropy, chunk_size) == pytest.approx(wanted, rel=1e-5)
    assert net.training
