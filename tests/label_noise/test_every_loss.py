"""Every loss: gradients by formula and by finite differences, dtypes, many networks at once, batch means, imports."""

import importlib
import pkgutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from infocap import label_noise as ln

B, K = 6, 4

TRANSITION = 0.6 * torch.eye(K, dtype=torch.float64) + 0.4 * torch.softmax(
    torch.randn(K, K, generator=torch.Generator().manual_seed(3)).double(), 1
)
FEATURES = torch.randn(B, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

# name: loss of (logits, auxiliary, labels), all networks' terms added
LOSSES = {
    "mae": lambda z, a, y: ln.mae_loss(z, y),
    "gce": lambda z, a, y: ln.gce_loss(z, y),
    "forward": lambda z, a, y: ln.forward_loss(z, y, TRANSITION),
    "dmi": lambda z, a, y: ln.dmi_loss(z, y),
    "limit_gaussian": lambda z, a, y: sum(ln.limit_losses(z, a, y, beta=3.0, kind="gaussian")),
    "limit_laplace": lambda z, a, y: sum(ln.limit_losses(z, a, y, beta=3.0, kind="laplace")),
    "soft_penalty": lambda z, a, y: ln.soft_penalty_loss(FEATURES.to(z), z, a, y, lam=0.3, beta=0.7),
    "co_teaching": lambda z, a, y: ln.co_teaching_loss(z, a, y, forget_rate=0.3),
}


def analytic_gradient(name, logits, auxiliary, labels):
    """By hand: with respect to the logits of the classifier and, where it takes part, of the auxiliary network."""
    s, q, y = logits.softmax(1), auxiliary.softmax(1), F.one_hot(labels, K).double()
    s_y = (s * y).sum(1, keepdim=True)
    if name == "mae":
        return 2 * s_y * (s - y) / B, None
    if name == "gce":
        return s_y**0.7 * (s - y) / B, None
    if name == "forward":
        joint = s * TRANSITION[:, labels].T
        return (s - joint / joint.sum(1, keepdim=True)) / B, None
    if name == "dmi":
        u = y.T @ s
        d = torch.linalg.det(u).abs()
        through_s = -d / (d + 1e-3) * y @ torch.linalg.inv(u).T
        return s * (through_s - (through_s * s).sum(1, keepdim=True)), None
    if name.startswith("limit"):
        error = 2 * (q - y) if name == "limit_gaussian" else torch.sign(q - y)
        through_q = (error + 2 * 3.0 * (q - s)) / B
        return (s - q) / B, q * (through_q - (through_q * q).sum(1, keepdim=True))
    if name == "soft_penalty":
        size = FEATURES.square().sum(1, keepdim=True) / B
        through_s = size * 2 * 0.7 * (s - q)
        through_q = size * 2 * (0.3 * (q - y) - 0.7 * (s - q))
        return (
            (s - y) / B + s * (through_s - (through_s * s).sum(1, keepdim=True)),
            q * (through_q - (through_q * q).sum(1, keepdim=True)),
        )
    keep = 4  # co-teaching: 0.7 of 6 examples
    loss = [-torch.log((p * y).sum(1)) for p in (s, q)]
    chosen = [F.one_hot(other.argsort()[:keep], B).sum(0)[:, None] for other in loss]
    return chosen[1] * (s - y) / keep, chosen[0] * (q - y) / keep


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_formula(batch, gradient, close, name, seed):
    logits, auxiliary, _ = batch(seed=seed)
    labels = torch.tensor([0, 1, 2, 3, 1, 2])  # every class, or DMI's table has no inverse
    found = gradient(LOSSES[name](logits, auxiliary, labels), logits, auxiliary)
    for a, b in zip(found, analytic_gradient(name, logits, auxiliary, labels), strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            close(a, b)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_finite_differences(batch, name):
    logits, auxiliary, _ = batch()
    labels, loss = torch.tensor([0, 1, 2, 3, 1, 2]), LOSSES[name]
    if name.startswith("limit"):  # s and q are constants in one term each: differentiate the terms one by one
        options = {"beta": 3.0, "kind": name.removeprefix("limit_")}
        fixed = [x.detach() for x in (logits, auxiliary)]
        assert torch.autograd.gradcheck(lambda z: ln.limit_losses(z, fixed[1], labels, **options)[0], logits)
        assert torch.autograd.gradcheck(lambda a: ln.limit_losses(fixed[0], a, labels, **options)[1], auxiliary)
    elif name in ("soft_penalty", "co_teaching"):
        assert torch.autograd.gradcheck(lambda z, a: loss(z, a, labels), (logits, auxiliary))
    else:
        assert torch.autograd.gradcheck(lambda z: loss(z, None, labels), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_keep_their_dtype(batch, name, dtype):
    loss = LOSSES[name](*batch(dtype))
    assert loss.dtype == dtype and loss.shape == ()
    assert loss.item() == pytest.approx(
        LOSSES[name](*(x.double() if x.is_floating_point() else x for x in batch(dtype))).item(), rel=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_of_many_networks_at_once(batch, close, name):
    logits, auxiliary, labels = (torch.stack(x).detach() for x in zip(*(batch(seed=i) for i in range(3)), strict=True))
    both = torch.func.grad_and_value(LOSSES[name], argnums=(0, 1))
    together = torch.vmap(both)(logits, auxiliary, labels)
    for i in range(3):
        alone = both(logits[i], auxiliary[i], labels[i])
        close(together[1][i], alone[1])
        close(together[0][0][i], alone[0][0])
        close(together[0][1][i], alone[0][1])


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"dmi"}))
def test_losses_are_batch_means(batch, close, name):
    logits, auxiliary, labels = batch()
    if name in ("soft_penalty", "co_teaching"):
        twice = (
            ln.soft_penalty_loss(
                FEATURES.repeat(2, 1), logits.repeat(2, 1), auxiliary.repeat(2, 1), labels.repeat(2), lam=0.3, beta=0.7
            )
            if name == "soft_penalty"
            else ln.co_teaching_loss(logits.repeat(2, 1), auxiliary.repeat(2, 1), labels.repeat(2), forget_rate=1 / 3)
        )
    else:
        twice = LOSSES[name](logits.repeat(2, 1), auxiliary.repeat(2, 1), labels.repeat(2))
    close(twice, LOSSES[name](logits, auxiliary, labels))


MODULES = [module.name for module in pkgutil.iter_modules(ln.__path__) if module.name != "_parts"]


@pytest.mark.parametrize("name", MODULES)
def test_an_idea_stands_alone_and_is_imported_from_the_package_too(name):
    """So that a change of one method leaves the stored results of all others valid."""
    module = importlib.import_module(f"infocap.label_noise.{name}")
    imports = [line for line in Path(module.__file__).read_text().splitlines() if "infocap.label_noise" in line]
    assert not [line for line in imports if line.startswith(("import", "from")) and "._parts import" not in line]
    assert all(getattr(ln, public) is getattr(module, public) for public in module.__all__)
    assert set(module.__all__) <= set(ln.__all__)
