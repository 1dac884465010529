"""The tangent kernel against derivatives taken one output of one example at a time."""

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.models import resnet18

from infocap import tangent
from infocap.networks import seeded
from infocap.tangent import general_path_reason, jacobian, ntk, sampled_ntk


def oracle_jacobian(model, inputs):
    model = copy.deepcopy(model).eval()
    parameters, rows = [p for p in model.parameters() if p.requires_grad], []
    for example in inputs:
        for output in (outputs := model(example[None])[0]):
            gradients = torch.autograd.grad(output, parameters, retain_graph=True, allow_unused=True)
            pairs = zip(parameters, gradients, strict=True)
            rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs]))
    return torch.stack(rows).view(len(inputs), len(outputs), -1)


def oracle(model, inputs, inputs2=None):
    left = oracle_jacobian(model, inputs)
    right = left if inputs2 is None else oracle_jacobian(model, inputs2)
    return torch.einsum("ncd,med->ncme", left, right)


def close(ours, theirs, relative=1e-10):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype and not ours.requires_grad
    assert (ours - theirs).abs().max() <= relative * theirs.abs().max()


def symmetric(kernel):
    return torch.equal(kernel, kernel.permute(2, 3, 0, 1))


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def prepared(build, seed=0):
    """A float64 network in training mode whose batch-norms are far from the identity."""

    def ready():
        model = build().double()
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    nn.init.normal_(module.weight)
                    nn.init.normal_(module.bias)
        return model

    return seeded(ready, seed)


class Net(nn.Module):
    """Any forward pass, written beside the layers that it uses."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.compute = forward

    def forward(self, x):
        return self.compute(self, x)


def residual():
    def forward(net, x):
        h = net.relu(net.norm1(net.conv1(x)))
        out = net.norm2(net.conv2(h))
        out += h
        return net.head(net.relu(out).mean((2, 3)))

    return Net(
        forward,
        conv1=nn.Conv2d(3, 6, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(6),
        conv2=nn.Conv2d(6, 6, 3, padding=1, groups=2),
        norm2=nn.BatchNorm2d(6),
        relu=nn.ReLU(inplace=True),
        head=nn.Linear(6, 3),
    )


def frozen():
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    for parameter in [model[0].weight, model[2].bias, model[3].weight, *model[4].parameters()]:
        parameter.requires_grad_(False)
    return model


def unused():
    return Net(lambda net, x: net.used(x), used=nn.Linear(5, 3), idle=nn.Linear(5, 3))


VECTORS, IMAGES = draw(6, 5), draw(4, 3, 9, 8)

STRUCTURED = {
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3)), VECTORS),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 9, bias=False), nn.ReLU(True), nn.Linear(9, 1)), VECTORS),
    "one layer": (lambda: nn.Linear(5, 3), VECTORS),
    "frozen": (frozen, VECTORS),
    "unused layer": (unused, VECTORS),
    "keyword": (lambda: Net(lambda net, x: net.layer(input=x), layer=nn.Linear(5, 3)), VECTORS),
    "sequence": (
        lambda: Net(
            lambda net, x: net.b(torch.tanh(net.a(x)).mean(1)), a=nn.Linear(5, 7), b=nn.Linear(7, 3, bias=False)
        ),
        draw(5, 4, 5),
    ),
    "sequence, bias alone": (
        lambda: Net(
            lambda net, x: net.b(torch.tanh(net.a(x)).mean(1)),
            a=nn.Linear(5, 7),
            b=nn.Linear(7, 3).requires_grad_(False),
        ),
        draw(5, 4, 5),
    ),
    "batch-norm 1d": (
        lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(True), nn.Linear(8, 3)),
        VECTORS,
    ),
    "batch-norm 1d, not affine": (
        lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, affine=False), nn.Tanh(), nn.Linear(8, 3)),
        VECTORS,
    ),
    "batch-norm 1d over positions": (
        lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Tanh(), nn.Flatten(), nn.Linear(20, 3)),
        draw(5, 4, 5),
    ),
    "stride, padding, dilation, groups": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=3),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(60, 3),
        ),
        IMAGES,
    ),
    "padding same, reflected, average pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, (2, 3), padding="same", padding_mode="reflect"),
            nn.Tanh(),
            nn.AvgPool2d(3),
            nn.Flatten(),
            nn.Linear(24, 3),
        ),
        IMAGES,
    ),
    "padding same, zeros, dilation": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 2, (2, 3), padding="same", dilation=(2, 3)), nn.Flatten(), nn.Linear(144, 2)
        ),
        IMAGES,
    ),
    "padding valid": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 4, padding="valid"), nn.Tanh(), nn.Flatten(), nn.Linear(60, 2)),
        IMAGES,
    ),
    "padding circular": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="circular", bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 2),
        ),
        IMAGES,
    ),
    "few positions": (
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        draw(5, 8, 4, 4),
    ),
    "few positions, no bias": (
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3, bias=False, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)),
        draw(5, 8, 4, 4),
    ),
    "residual block, batch-norm 2d": (residual, IMAGES),
}


def functional(net, x):
    return net.b(torch.tanh(net.a(x))) + (x @ net.a.weight.T)[:, :3]


def discarded():
    """The layer's output is thrown away, and its weight used by hand."""

    def forward(net, x):
        net.a(x)
        return net.b(x @ net.a.weight.T)

    return Net(forward, a=nn.Linear(5, 4), b=nn.Linear(4, 3))


def tied():
    model = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5))
    model[2].weight = model[0].weight
    return model


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer(5, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


def rows_elsewhere():
    """Examples lie along the second axis: here as many as there are positions along the first."""
    return Net(lambda net, x: net.b(torch.tanh(net.a(x.transpose(0, 1))).mean(0)), a=nn.Linear(5, 4), b=nn.Linear(4, 3))


def folded():
    return Net(
        lambda net, x: net.b(torch.tanh(net.a(x.flatten(0, 1))).view(len(x), -1)), a=nn.Linear(5, 4), b=nn.Linear(16, 3)
    )


def constant():
    return Net(lambda net, x: x.mean(1)[:, :3] * net.a(torch.ones(1, 5).to(x)), a=nn.Linear(5, 3))


SEQUENCES = draw(4, 4, 5)
ELSEWHERE = "module 'a' (Linear) does not see one row for each example"
GENERAL = {
    "used twice": (
        lambda: Net(lambda net, x: net.b(net.a(torch.tanh(net.a(x)))), a=nn.Linear(5, 5), b=nn.Linear(5, 3)),
        "module 'a' (Linear) is used 2 times in one pass",
    ),
    "tied": (tied, "module '2' (Linear) shares a parameter with module '0'"),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
        "module '1' (LayerNorm) has no structured rule",
    ),
    "held by the top module": (
        lambda: Net(lambda net, x: net.a(x) * net.scale, a=nn.Linear(5, 3), scale=nn.Parameter(torch.randn(3))),
        "module '' (Net) has no structured rule",
    ),
    "functional use": (
        lambda: Net(functional, a=nn.Linear(5, 5), b=nn.Linear(5, 3)),
        "module 'a' (Linear) has parameters that are used elsewhere too",
    ),
    "output discarded": (discarded, "module 'a' (Linear) has parameters that are used elsewhere too"),
    "weight norm": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 4)), nn.Tanh(), nn.Linear(4, 3)),
        "module '0' (ParametrizedLinear) has no structured rule",
    ),
    "scalar parameter": (
        lambda: Net(lambda net, x: net.a(x) * net.scale, a=nn.Linear(5, 3), scale=nn.Parameter(torch.tensor(2.0))),
        "module '' (Net) has no structured rule",
    ),
    "lstm": (lambda: Recurrent(nn.LSTM), "module 'layer' (LSTM) has no structured rule", SEQUENCES),
    "gru": (lambda: Recurrent(nn.GRU), "module 'layer' (GRU) has no structured rule", SEQUENCES),
    "examples along the second axis": (rows_elsewhere, ELSEWHERE, SEQUENCES),
    "positions folded into examples": (folded, ELSEWHERE, SEQUENCES),
    "one row for all examples": (constant, ELSEWHERE, SEQUENCES),
}


@pytest.fixture(params=STRUCTURED)
def structured(request):
    build, inputs = STRUCTURED[request.param]
    return prepared(build), inputs


@pytest.fixture(params=GENERAL)
def general(request):
    build, reason, *inputs = GENERAL[request.param]
    return prepared(build), reason, *(inputs or [VECTORS])


def check(model, inputs):
    expected, kernel = oracle(model, inputs), ntk(model, inputs)
    close(kernel, expected)
    assert symmetric(kernel)
    for chunk_size in (1, 2, 4):
        kernel = ntk(model, inputs, chunk_size=chunk_size)
        close(kernel, expected)
        assert symmetric(kernel)
        close(ntk(model, inputs[:3], inputs[1:], chunk_size=chunk_size), expected[:3, :, 1:])
    close(ntk(model, inputs[:2], inputs), expected[:2])


def test_structured_kernel_equals_autograd(structured):
    model, inputs = structured
    assert general_path_reason(model, inputs) is None
    check(model, inputs)


def test_products_in_parts_equal_autograd(structured, monkeypatch):
    """As large inputs are: strips of few rows, and temporaries that hold a few entries."""
    monkeypatch.setattr(tangent, "_STRIP", 4)
    monkeypatch.setattr(tangent, "_BUDGET", 200)
    check(*structured)


def test_general_kernel_equals_autograd(general):
    model, reason, inputs = general
    assert general_path_reason(model, inputs) == reason
    check(model, inputs)
    close(jacobian(model, inputs), oracle_jacobian(model, inputs))


def test_a_dead_example_hides_nothing():
    """The first example makes every derivative of the shared weight vanish: it cannot witness the second use."""
    model = prepared(GENERAL["functional use"][0])
    inputs = torch.cat([torch.zeros(1, 5, dtype=torch.float64), VECTORS])
    close(ntk(model, inputs), oracle(model, inputs))


def test_cancelling_derivatives_are_no_second_use():
    """A bias that centring removes has derivatives of rounding size, in float32 too."""
    model = prepared(lambda: Net(lambda net, x: (y := net.a(x)) - y.mean(1, True), a=nn.Linear(5, 3))).float()
    assert general_path_reason(model, VECTORS.float()) is None


def test_a_layers_input_may_change_after_it_was_read():
    def forward(double):
        return lambda net, x: net.a(h := x * 1.0) + double(h)[:, :3]

    layer = nn.Linear(5, 3).double()
    changed, kept = Net(forward(lambda h: h.mul_(2)), a=layer), Net(forward(lambda h: h * 2), a=layer)
    assert general_path_reason(changed, VECTORS) is None
    close(ntk(changed, VECTORS), oracle(kept, VECTORS))


def test_no_trainable_layer_has_a_say():
    model = Net(lambda net, x: net.used(x), used=nn.Linear(5, 3).requires_grad_(False), idle=nn.Linear(5, 3)).double()
    for inputs in (VECTORS, VECTORS.clone().requires_grad_()):
        assert torch.equal(ntk(model, inputs), torch.zeros(6, 3, 6, 3, dtype=torch.float64))


@settings(max_examples=25)
@given(st.data())
def test_every_geometry_of_a_convolution(data):
    pair = lambda high, low=1: data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    kernel, stride, dilation, padding, size = pair(3), pair(3), pair(2), pair(2, 0), pair(8, 3)
    spans = [s + 2 * p - d * (k - 1) for s, p, d, k in zip(size, padding, dilation, kernel, strict=True)]
    assume(min(spans) >= 1)
    groups, width = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 4))
    mode = data.draw(st.sampled_from(["zeros", "replicate"]))
    options = {"stride": stride, "dilation": dilation, "padding": padding, "padding_mode": mode, "groups": groups}
    conv = nn.Conv2d(2 * groups, width * groups, kernel, bias=data.draw(st.booleans()), **options).double()
    inputs = draw(3, 2 * groups, *size)
    head = nn.Linear(conv(inputs)[0].numel(), 2).double()
    model = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), head)
    assert general_path_reason(model, inputs) is None
    close(ntk(model, inputs), oracle(model, inputs))


def test_resnet_18_is_structured():
    model, inputs = prepared(lambda: resnet18(num_classes=2)), draw(2, 3, 32, 32)
    assert general_path_reason(model, inputs) is None
    close(ntk(model, inputs), oracle(model, inputs))


def test_a_frozen_parameter_of_another_dtype_decides_nothing():
    scale = nn.Parameter(torch.tensor([2.0, 3.0, 4.0]), requires_grad=False)
    model = Net(lambda net, x: net.a(x) * net.scale, scale=scale, a=nn.Linear(5, 3).double())
    assert next(model.parameters()).dtype == torch.float32
    close(ntk(model, VECTORS), oracle(model, VECTORS))


def test_inference_mode_is_left_for_a_while():
    for build in (STRUCTURED["mlp"][0], GENERAL["layer norm"][0]):
        model = prepared(build)
        expected = ntk(model, VECTORS)
        with torch.inference_mode():
            assert torch.equal(ntk(model, VECTORS), expected)
            assert torch.is_inference_mode_enabled()


def test_float32_stays_float32():
    for build in (STRUCTURED["mlp"][0], GENERAL["layer norm"][0]):
        model = prepared(build)
        expected = ntk(model, VECTORS)
        kernel = ntk(model.float(), VECTORS.float())
        assert kernel.dtype == torch.float32 and symmetric(kernel)
        assert (kernel - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_integer_inputs():
    model = prepared(lambda: nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 2)))
    inputs = torch.tensor([[0, 1, 2, 1], [3, 3, 6, 5], [0, 0, 0, 1]])
    close(ntk(model, inputs), oracle(model, inputs))


def test_jacobian_equals_autograd(structured):
    model, inputs = structured
    for chunk_size in (None, 2):
        close(jacobian(model, inputs, chunk_size=chunk_size), oracle_jacobian(model, inputs))


def test_all_coordinates_give_the_kernel(structured):
    model, inputs = structured
    expected, kernel = oracle(model, inputs), sampled_ntk(model, inputs, coordinates=10**6)
    close(kernel, expected)
    assert symmetric(kernel)
    close(sampled_ntk(model, inputs[:2], inputs, coordinates=10**6, chunk_size=2), expected[:2])


def test_coordinates_are_unbiased():
    model, inputs = prepared(STRUCTURED["mlp"][0]), VECTORS[:3]
    expected = ntk(model, inputs)
    kernels = torch.stack([sampled_ntk(model, inputs, coordinates=4, seed=seed) for seed in range(400)])
    error = kernels.mean(0) - expected
    standard = kernels.std(0) / 20
    assert standard.min() > 0
    assert (error.abs() / standard).max() < 4.5  # the largest of 45 different entries
    assert error.square().mean() / standard.square().mean() < 2
    assert torch.equal(kernels[7], sampled_ntk(model, inputs, coordinates=4, seed=7))
    close(sampled_ntk(model, inputs[:1], inputs, coordinates=4, seed=7), kernels[7][:1])
    assert torch.linalg.matrix_rank(sampled_ntk(model, VECTORS, coordinates=1).flatten(2).flatten(0, 1)) <= 4


def state(model):
    flags = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    return flags, hooks, gradients, tensors, torch.get_rng_state()


def assert_unchanged(before, after):
    assert before[:2] == after[:2]
    for one, other in zip(before[2], after[2], strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert before[3].keys() == after[3].keys()
    assert all(torch.equal(before[3][name], after[3][name]) for name in before[3])
    assert torch.equal(before[4], after[4])


class Fragile(nn.Module):
    """Breaks on more than six examples at once."""

    def forward(self, x):
        if len(x) > 6:
            raise ArithmeticError("too many")
        return x


def test_the_model_is_left_as_it_was():
    layers = nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)
    model = prepared(lambda: nn.Sequential(Fragile(), *layers)).train()
    model[2].eval()
    model(VECTORS).sum().backward()
    model[4].weight.grad = None
    before = state(model)
    ntk(model, VECTORS)
    ntk(model, VECTORS[:2], VECTORS)
    jacobian(model, VECTORS)
    sampled_ntk(model, VECTORS, coordinates=3)
    general_path_reason(model, VECTORS)
    with torch.no_grad():
        ntk(model, VECTORS)
        assert not torch.is_grad_enabled()
    assert_unchanged(before, state(model))
    with pytest.raises(ArithmeticError, match="too many"):
        ntk(model, VECTORS.repeat(2, 1), chunk_size=12)
    with pytest.raises(ValueError, match="empty"):
        ntk(model, VECTORS[:0])
    assert_unchanged(before, state(model))


ERRORS = {
    "no parameter": (nn.Flatten(), VECTORS, ValueError, "model: got no trainable parameter; accepted: at least one"),
    "no running statistics": (
        nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False)),
        VECTORS.float(),
        ValueError,
        "model: module '0' has no running statistics, so that it mixes examples",
    ),
    "empty": (nn.Linear(5, 2), VECTORS[:0].float(), ValueError, "inputs: got an empty set; accepted: at least one"),
    "dtype": (nn.Linear(5, 2), VECTORS, TypeError, "inputs: got torch.float64; accepted: torch.float32, the model's"),
    "not finite": (nn.Linear(5, 2), torch.full((2, 5), torch.nan), ValueError, "inputs: got values that are NaN or"),
    "output": (
        nn.Linear(5, 2),
        torch.zeros(2, 3, 5),
        ValueError,
        r"model: got an output of shape \[1, 3, 2\] for one example; accepted: \[n, C\]",
    ),
}


@pytest.mark.parametrize("function", [ntk, jacobian, general_path_reason])
@pytest.mark.parametrize("case", ERRORS)
def test_errors(case, function):
    model, inputs, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        function(model, inputs)


def test_errors_of_pairs_and_sizes():
    model, inputs = nn.Linear(5, 2), VECTORS.float()
    with pytest.raises(ValueError, match=r"inputs2: got shape \[6, 4\]; accepted: \[m, \*\[5\]\]"):
        ntk(model, inputs, inputs[:, :4])
    with pytest.raises(ValueError, match="inputs2: got values that are NaN or infinite; accepted: finite values"):
        ntk(model, inputs, inputs / 0)
    with pytest.raises(TypeError, match="inputs2: got torch.float64; accepted: torch.float32, the model's"):
        sampled_ntk(model, inputs, VECTORS, coordinates=3)
    with pytest.raises(TypeError, match="inputs2: got list; accepted: a tensor"):
        ntk(model, inputs, inputs.tolist())
    with pytest.raises(ValueError, match="coordinates must be at least 1, got 0"):
        sampled_ntk(model, inputs, coordinates=0)
    for function in (ntk, jacobian):
        with pytest.raises(ValueError, match="chunk_size must be at least 1, got 0"):
            function(model, inputs, chunk_size=0)
