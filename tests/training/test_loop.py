"""The training loop against loops written out by hand."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from infocap.networks import build
from infocap.training import fit, predict

N = 22


def small(seed=0, **options):
    return build("mlp", 3, seed=seed, in_features=16, widths=(8,), **options)


@pytest.fixture(scope="session")
def train(generator, optimizers):
    """Seven steps of ``fit``, unless told otherwise."""

    def run(model, *data, seed=0, **options):
        defaults = {"loss": cross_entropy, "optimizer": optimizers["sgd"], "steps": 7, "batch_size": 8}
        return fit(model, *data, **defaults | {"generator": generator(seed)} | options)

    return run


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("schedule", [None, partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)])
@pytest.mark.parametrize("augment", [None, lambda batch, g: batch + torch.randn(batch.shape, generator=g)])
def test_fit_is_the_plain_loop(images, equal_states, optimizers, train, by_hand, optimizer, schedule, augment):
    data, ours, plain = images(N), small(), small()
    options = {"schedule": schedule, "augment": augment}
    run = train(ours, *data, optimizer=optimizers[optimizer], **options)
    losses = by_hand(plain, *data, cross_entropy, optimizers[optimizer], 7, 8, **options)  # 22 = 8 + 8 + 6
    assert run.model is ours and ours.training
    assert torch.equal(run.losses, losses) and not run.losses.requires_grad
    assert equal_states(ours.state_dict(), plain.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_targets(images, equal_states, optimizers, generator, train, by_hand, dtype):
    inputs, labels = images(N, dtype=dtype)
    targets = torch.randn(N, 3, generator=generator(1)).to(dtype)
    ours, plain = small().to(dtype), small().to(dtype)
    run = train(ours, inputs, targets, loss=mse_loss)
    assert torch.equal(run.losses, by_hand(plain, inputs, targets, mse_loss, optimizers["sgd"], 7, 8))
    assert run.losses.dtype == dtype and equal_states(ours.state_dict(), plain.state_dict())


def test_an_epoch_visits_each_example_once(images, train):
    seen = []

    def loss(outputs, rows):
        seen.append(rows.tolist())
        return outputs.mean()

    train(small(batch_norm=False), images(N)[0], torch.arange(N), loss=loss, steps=7)
    assert [len(rows) for rows in seen] == [8, 8, 6, 8, 8, 6, 8]
    epochs = [sum(seen[:3], []), sum(seen[3:6], [])]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs) and epochs[0] != epochs[1]


def test_one_batch_may_be_the_whole_set(images, train):
    data = images(N)
    assert len(train(small(), *data, steps=3, batch_size=N).losses) == 3


def test_records_and_checkpoints(images, equal_states, train):
    data, model = images(N), small()
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


def test_looking_changes_nothing(images, equal_states, train):
    data, looked_at, left_alone = images(N), small(dropout=0.5), small(dropout=0.5)

    def record(step, network):
        network.eval()
        torch.rand(100)
        return network(data[0])

    run = train(looked_at, *data, record=record, record_at=range(8))
    assert torch.equal(run.losses, train(left_alone, *data).losses)
    assert equal_states(looked_at.state_dict(), left_alone.state_dict())
    assert looked_at.training and all(module.training for module in looked_at.modules())
    assert not torch.equal(run.records[0], run.records[7])


def test_random_layers_follow_the_generator_and_not_the_global_one(images, train):
    data = images(N)
    runs = []
    for scramble, seed in [(1, 0), (2, 0), (1, 3)]:
        model = small(dropout=0.5)
        torch.manual_seed(scramble)
        before = torch.get_rng_state()
        runs.append(train(model, *data, seed=seed).losses)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_each_step_draws_a_new_mask(train):
    masks = []

    def loss(outputs, targets):
        masks.append(outputs.detach() == 0)
        return outputs.mean()

    layer = nn.Linear(4, 30, bias=False)
    nn.init.ones_(layer.weight)
    train(nn.Sequential(layer, nn.Dropout(0.5)), torch.ones(8, 4), torch.zeros(8), loss=loss, steps=2)
    assert not torch.equal(*masks) and 0.3 < masks[0].float().mean() < 0.7


def test_frozen_parameters_stay_and_the_optimizer_does_not_see_them(images, train):
    model, sizes = small(), []
    model[1].weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())

    def optimizer(parameters):
        sizes.append(len(parameters))
        return torch.optim.SGD(parameters, lr=0.1, weight_decay=0.1)

    train(model, *images(N), optimizer=optimizer)
    assert sizes == [len(list(model.parameters())) - 1]
    assert torch.equal(model[1].weight, before["1.weight"])
    assert not torch.equal(model[1].bias, before["1.bias"])


def test_a_progress_bar_on_request(images, train, capsys):
    train(small(), *images(N), progress=True)
    assert "7/7" in capsys.readouterr().err
    train(small(), *images(N))
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
def test_errors_of_fit(images, equal_states, train, change, error, message):
    inputs, targets = images(N)
    arguments = {"inputs": inputs, "targets": targets} | GOOD | change
    model = small()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message) as caught:
        train(model, arguments.pop("inputs"), arguments.pop("targets"), **arguments)
    assert "\n" not in str(caught.value) and equal_states(model.state_dict(), before)


def test_large_finite_values_are_accepted(train):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    train(model, OVERFLOW, torch.zeros(N).long(), loss=lambda outputs, targets: outputs.mean() * 0)


def test_predict_is_the_evaluation_mode_in_batches_and_restores_the_mode(images):
    inputs, model = images(N)[0], small(dropout=0.5)
    model[2].running_mean.fill_(0.3)
    expected = copy.deepcopy(model).eval()(inputs).detach()
    for training_mode in (True, False):
        model.train(training_mode)
        outputs = predict(model, inputs, batch_size=5)
        torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
        assert model.training is training_mode and model[4].training is training_mode
        assert not outputs.requires_grad
    assert torch.all(model[2].running_mean == 0.3)
