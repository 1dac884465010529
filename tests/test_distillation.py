"""Part 4: complexities by explicit inverses and known spectra, losses by hand, and one path through ``fit``."""

import itertools
import math
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as some
from torch import nn
from torch.func import vmap

from infocap.distillation import (
    Distillation,
    adjusted_supervision_complexity,
    cached_logits,
    class_averaged_kernel,
    condition_number,
    distillation_loss,
    fidelity,
    kernel_target_alignment,
    margin_bound,
    ntk_similarity,
    predictive_kl,
    replay,
    soft_targets,
    squared_distillation_loss,
    supervision_complexity,
    teacher_checkpoint,
    train_along,
)
from infocap.networks import build
from infocap.sample_information import IllConditionedWarning, train_linearized
from infocap.tangent import ntk
from infocap.training import fit

seeds = some.integers(0, 10**6)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel_of(seed, size, rank=None):
    x = normal(seed, size, rank or 2 * size)
    return x @ x.T


def kernel_with(values, seed=0):
    vectors = torch.linalg.qr(normal(seed, len(values), len(values)))[0]
    return (vectors * torch.as_tensor(values)) @ vectors.T, vectors


def close(ours, wanted, tolerance=1e-9):
    ours, wanted = (torch.as_tensor(value, dtype=torch.float64) for value in (ours, wanted))
    torch.testing.assert_close(ours, wanted, rtol=tolerance, atol=0)


def adjusted_oracle(kernel, g):
    energy = g @ torch.linalg.pinv(kernel, hermitian=True) @ g
    return (energy * kernel.trace() / len(g)).sqrt() / g.norm()


# complexity


@given(seeds, some.integers(1, 8), some.integers(1, 3))
def test_complexity_equals_an_explicit_inverse(seed, n, outputs):
    flat = kernel_of(seed, n * outputs)
    kernel, targets, start = (
        flat.view(n, outputs, n, outputs),
        normal(seed + 1, 2, n, outputs),
        normal(seed, n, outputs),
    )
    inverse = torch.linalg.inv(flat)
    for g, initial in [(targets, None), (targets - start, start), (targets - targets.flip(0), targets.flip(0))]:
        g = g.flatten(1)
        wanted = (g @ inverse * g).sum(1).sqrt()
        close(supervision_complexity(kernel, targets, initial), wanted, 1e-6)
        wanted = wanted * (flat.trace() / len(flat)).sqrt() / g.norm(dim=1)
        close(adjusted_supervision_complexity(kernel, targets, initial), wanted, 1e-6)


@pytest.mark.parametrize("rank", [1, 3, 11])
def test_singular_kernels_use_the_pseudo_inverse(rank):
    kernel = kernel_of(0, 12, rank)
    g = kernel @ normal(1, 12)
    close(supervision_complexity(kernel, g), (g @ torch.linalg.pinv(kernel, hermitian=True) @ g).sqrt(), 1e-7)
    close(adjusted_supervision_complexity(kernel, g), adjusted_oracle(kernel, g), 1e-7)
    kernel, vectors = kernel_with([3.0, 2.0, 1.0, 0.0, 0.0])
    in_range, null = vectors[:, 0], vectors[:, 4]
    close(supervision_complexity(kernel, in_range + 5e-9 * null), 3**-0.5, 1e-7)
    for bad in (in_range + 2e-8 * null, null):
        with pytest.raises(ValueError, match=r"targets must lie in the range .* a ridge on it helps$"):
            supervision_complexity(kernel, torch.stack([in_range, bad]))


def test_a_singular_kernel_that_cholesky_lets_pass_is_still_refused():
    passed = 0
    for seed in range(200):
        kernel, g = kernel_of(seed, 6, 5), normal(seed, 6)
        passed += int(torch.linalg.cholesky_ex(kernel)[1] == 0)
        with pytest.raises(ValueError, match="range of a singular kernel"):
            supervision_complexity(kernel, g)
    assert passed > 20  # rounding alone makes the last pivot positive


def test_precision_of_the_kernel_decides_what_is_singular():
    kernel, vectors = kernel_with([1.0, 1e-3, 1e-9])
    close(supervision_complexity(kernel, vectors.T), [1.0, 1e3**0.5, 1e9**0.5], 1e-6)
    with pytest.raises(ValueError, match="singular"):
        supervision_complexity(kernel.float(), vectors.T)
    assert condition_number(kernel.float()) == math.inf and condition_number(kernel) == pytest.approx(1e9, rel=1e-6)
    network = build("mlp", 2, seed=0, in_features=5, widths=(3,), batch_norm=False)  # 26 weights, 40 outputs
    inputs = normal(0, 20, 5).float()
    for kernel in (ntk(network, inputs), ntk(network.double(), inputs.double())):
        assert condition_number(kernel) == math.inf
        reachable = (kernel.reshape(40, 40).double() @ normal(1, 40)).view(20, 2)
        if kernel.dtype == torch.float64:
            flat = kernel.reshape(40, 40)
            close(adjusted_supervision_complexity(kernel, reachable), adjusted_oracle(flat, reachable.flatten()), 1e-6)
        with pytest.raises(ValueError, match="singular"):
            supervision_complexity(kernel, normal(2, 20, 2))


def test_a_nearly_singular_kernel_warns():
    kernel, vectors = kernel_with([1.0, 1.0, 3e-14])
    with pytest.warns(IllConditionedWarning, match="near its rounding errors"):
        supervision_complexity(kernel, vectors[:, 0])


def test_eigenvectors_of_a_known_spectrum():
    values = torch.tensor([16.0, 4.0, 1.0, 0.25], dtype=torch.float64)
    kernel, vectors = kernel_with(values)
    close(supervision_complexity(kernel, vectors.T), 1 / values.sqrt())
    close(adjusted_supervision_complexity(kernel, 7 * vectors.T), (values.mean() / values).sqrt())
    close(kernel_target_alignment(kernel, vectors.T), values / values.norm())
    assert condition_number(kernel) == pytest.approx(64)
    assert condition_number(torch.ones(2, 2)) == condition_number(torch.zeros(2, 2)) == math.inf


@given(seeds, some.floats(1e-6, 1e6), some.floats(-1e6, 1e6).filter(lambda c: abs(c) > 1e-6))
def test_scales(seed, scale, length):
    kernel, g = kernel_of(seed, 6), normal(seed + 1, 6)
    adjusted = adjusted_supervision_complexity(kernel, g)
    close(adjusted_supervision_complexity(scale * kernel, length * g), adjusted)
    close(kernel_target_alignment(scale * kernel, length * g), kernel_target_alignment(kernel, g))
    close(
        supervision_complexity(scale * kernel, length * g), abs(length) / scale**0.5 * supervision_complexity(kernel, g)
    )
    close(adjusted_supervision_complexity(scale * torch.eye(6).double(), g), 1.0)


def test_random_signs_cost_the_trace_of_the_inverse():
    kernel = kernel_of(0, 7)
    signs = torch.tensor(list(itertools.product([-1, 1], repeat=7)))
    close(supervision_complexity(kernel, signs).square().mean(), torch.linalg.inv(kernel).trace())


@given(seeds)
def test_complexity_is_at_least_what_alignment_implies(seed):
    kernel, g = kernel_of(seed, 6), normal(seed + 1, 5, 6)
    least = g.square().sum(1) ** 2 / (g @ kernel * g).sum(1)
    assert (supervision_complexity(kernel, g).square() >= least * (1 - 1e-9)).all()


def test_a_scalar_kernel_times_the_identity():
    scalar, targets = kernel_of(0, 5), normal(1, 3, 5, 4)
    kernel = torch.kron(scalar, torch.eye(4).double()).view(5, 4, 5, 4)
    by_class = supervision_complexity(scalar, targets.mT)
    close(supervision_complexity(kernel, targets), by_class.square().sum(1).sqrt())
    close(class_averaged_kernel(kernel), scalar)
    uneven = normal(2, 3, 2, 4, 2)
    close(class_averaged_kernel(uneven), (uneven[:, 0, :, 0] + uneven[:, 1, :, 1]) / 2)


@given(seeds)
def test_later_teachers_of_gradient_flow_are_not_simpler(seed):
    kernel, labels = kernel_of(seed, 6), normal(seed + 1, 6).sign()
    times = [t / float(torch.linalg.eigvalsh(kernel)[-1]) for t in (0.1, 0.3, 1.0, 3.0, 10.0)]
    teachers = torch.cat([train_linearized(kernel, labels, kernel, time=times), labels[None]])
    for measure in (supervision_complexity, adjusted_supervision_complexity):
        values = measure(kernel, teachers)
        assert (values.diff() >= -1e-9 * values[1:]).all()


@given(seeds)
def test_more_regularized_teachers_are_not_more_complex(seed):
    kernel, labels = kernel_of(seed, 6), normal(seed + 1, 6).sign()
    ridges = [0.0, 0.1, 1.0, 10.0, 100.0]
    teachers = torch.stack([kernel @ torch.linalg.solve(kernel + r * torch.eye(6), labels) for r in ridges])
    for measure in (supervision_complexity, adjusted_supervision_complexity):
        values = measure(kernel, teachers)
        assert (values.diff() <= 1e-9 * values[:-1]).all()


def test_alignment_by_hand():
    kernel, g = kernel_of(0, 6), normal(1, 6)
    wanted = g @ kernel @ g / (g @ g * kernel.square().sum().sqrt())
    close(kernel_target_alignment(kernel, g), wanted)
    close(kernel_target_alignment(kernel.view(3, 2, 3, 2), g.view(3, 2)), wanted)


EYE = torch.eye(3, dtype=torch.float64)


@pytest.mark.parametrize("measure", [supervision_complexity, adjusted_supervision_complexity, kernel_target_alignment])
@pytest.mark.parametrize(
    ("kernel", "targets", "message"),
    [
        (torch.ones(2, 3), torch.ones(3), r"kernel must be \[n, n\] or"),
        (torch.ones(3), torch.ones(3), r"kernel must be \[n, n\] or"),
        (torch.ones(2, 2, 2), torch.ones(2), r"kernel must be \[n, n\] or"),
        (torch.tensor([[1.0, 0.1], [0.0, 1.0]]), torch.ones(2), "kernel must be symmetric"),
        (EYE * math.nan, torch.ones(3), "kernel must be finite"),
        (EYE, torch.tensor([1.0, math.inf, 0.0]), "targets must be finite"),
        (EYE, torch.ones(3, 2), r"targets must be \[..., 3\], got shape \(3, 2\)"),
        (torch.ones(2, 2, 2, 2), torch.ones(2), r"targets must be \[..., 2, 2\]"),
    ],
)
def test_wrong_kernels_and_targets(measure, kernel, targets, message):
    with pytest.raises(ValueError, match=message):
        measure(kernel, targets)


def test_other_errors_of_the_complexities():
    for measure in (supervision_complexity, adjusted_supervision_complexity, lambda k, g: condition_number(k)):
        with pytest.raises(ValueError, match="positive semi-definite, got an eigenvalue of -5.0e-01 times"):
            measure(torch.diag(torch.tensor([2.0, -1.0])), torch.ones(2))
    with pytest.raises(ValueError, match="initial must be shaped"):
        supervision_complexity(EYE, torch.ones(2, 3), torch.ones(1, 3))
    with pytest.raises(ValueError, match="without any difference"):
        adjusted_supervision_complexity(EYE, torch.ones(2, 3), torch.tensor([[0.0, 1, 2], [1, 1, 1]]))
    with pytest.raises(ValueError, match="without any difference"):
        kernel_target_alignment(EYE, torch.zeros(3))
    with pytest.raises(ValueError, match="kernel must not be zero"):
        kernel_target_alignment(0 * EYE, torch.ones(3))
    with pytest.raises(ValueError, match=r"kernel must be \[n, C, m, C\]"):
        class_averaged_kernel(torch.ones(2, 2, 2, 3))
    with pytest.raises(TypeError, match="kernel must be a tensor"):
        supervision_complexity("kernel", torch.ones(3))
    assert supervision_complexity(EYE, torch.ones(3), torch.ones(3)) == 0
    assert supervision_complexity(0 * EYE, torch.zeros(3)) == 0


# the bound


def test_binary_bound_by_hand():
    kernel = torch.diag(torch.tensor([4.0, 1.0, 1.0, 1.0]))  # not constant: Tr K = 7 becomes 4 * 4
    targets, labels = torch.tensor([2.0, 1.0, -1.0, 0.5]), torch.tensor([1, 1, 1, 1])
    bound = margin_bound(kernel, targets, labels, margin=0.5, delta=0.1)
    assert bound.violations == 0.5  # at the margin counts
    close(bound.complexity, (2 * math.sqrt(1 + 1 + 1 + 0.25) + 2) / (0.5 * 4) * 4)
    close(bound.confidence, 3 * math.sqrt(math.log(2 * 1 / 0.1) / 8))  # M: ceil(0.5 * 2 / (2 * 2)) = 1
    close(bound.total, bound.violations + bound.complexity + bound.confidence)
    radii = math.ceil(40 * 2 / (2 * 2))
    close(
        margin_bound(kernel, targets, labels, margin=40, delta=0.1).confidence, 3 * math.sqrt(math.log(20 * radii) / 8)
    )
    one_output = margin_bound(kernel.view(4, 1, 4, 1), targets.view(4, 1), labels, margin=0.5, delta=0.1)
    assert one_output == bound


def test_multiclass_bound_by_hand():
    kernel = 2 * torch.eye(6).view(2, 3, 2, 3)
    targets, labels = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.2]]), torch.tensor([0, 1])  # margins 0.5, -0.2
    bound = margin_bound(kernel, targets, labels, margin=0.4, delta=0.2)
    assert bound.violations == 0.5
    close(bound.complexity, 12 * (math.sqrt(1.29 / 2) + 1) / (0.4 * 2) * math.sqrt(12), 1e-6)
    close(bound.confidence, 3 * math.sqrt(math.log(2 / 0.2) / 4))
    wide = margin_bound(kernel, targets, labels, margin=100.0, delta=0.2)
    assert wide.violations == 1
    close(wide.confidence, 3 * math.sqrt(math.log(2 * math.ceil(100 * 2**0.5 / (12 * 2**0.5)) / 0.2) / 4))


def test_the_bound_holds_where_it_says_something():
    """A linear kernel on -1 and 1, labels flipped with probability p, a student that predicts the sign."""
    generator, n = torch.Generator().manual_seed(0), 1000
    for flip in (0.0, 0.1, 0.3):
        x = torch.rand(n, generator=generator).sub(0.5).sign()
        labels = x * (torch.rand(n, generator=generator) - flip).sign()
        bound = margin_bound(x[:, None] * x, x, labels, margin=0.99, delta=0.05)
        assert flip < bound.total < 0.7
        close(bound.complexity, 4 / 0.99 / math.sqrt(n), 1e-6)


def test_errors_of_the_bound():
    targets, labels = torch.ones(3), torch.ones(3)
    for arguments, message in [
        ({"margin": 0.0, "delta": 0.1}, "margin must be positive"),
        ({"margin": 1.0, "delta": 0.0}, "delta must be positive"),
        ({"margin": 1.0, "delta": 1.0}, r"delta must lie in \(0, 1\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            margin_bound(EYE, targets, labels, **arguments)
    bound = partial(margin_bound, margin=1.0, delta=0.1)
    for wrong in (torch.tensor([0, 1, 1]), torch.ones(2)):
        with pytest.raises(ValueError, match=r"labels must be \[3\] of -1 and 1"):
            bound(EYE, targets, wrong)
    with pytest.raises(ValueError, match="targets must be one set"):
        bound(EYE, torch.ones(2, 3), labels)
    with pytest.raises(ValueError, match="kernel must not be zero"):
        bound(0 * EYE, 0 * targets, labels)
    kernel = torch.eye(4).view(2, 2, 2, 2)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        bound(kernel, torch.ones(2, 2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"labels must be \[2\]"):
        bound(kernel, torch.ones(2, 2), torch.tensor([0, 1, 1]))
    with pytest.raises(TypeError, match="labels must be integers"):
        bound(kernel, torch.ones(2, 2), torch.tensor([0.0, 1.0]))


# soft targets and losses


def test_soft_targets_are_centred_and_keep_their_digits():
    logits = 3 * normal(0, 5, 4)
    for tau in (0.2, 1.0, 4.0, 1e6, 1e12):
        close(soft_targets(logits.float(), tau), soft_targets(logits, tau), 1e-4)
        torch.testing.assert_close(soft_targets(logits, tau), F.softmax(logits / tau, 1) - 0.25, rtol=0, atol=1e-15)
    centred = (logits - logits.mean(1, keepdim=True)) / 4
    close(1e9 * soft_targets(logits, 1e9), centred, 1e-6)
    close(1e9 * soft_targets(logits[:, :1], 1e9), logits[:, :1] / 2, 1e-6)
    one = logits[:, :1]
    close(soft_targets(one, 1.7), 2 * torch.sigmoid(one / 1.7) - 1)
    two = soft_targets(torch.cat([torch.zeros_like(one), one], 1), 1.7)
    close(soft_targets(one, 1.7), two[:, 1:] - two[:, :1])


def test_complexity_at_high_temperature():
    kernel, logits = kernel_of(0, 12).view(4, 3, 4, 3), normal(1, 4, 3)
    low, high = (soft_targets(logits, tau) for tau in (1e6, 1e7))
    close(supervision_complexity(kernel, low) / supervision_complexity(kernel, high), 10.0, 1e-4)
    limit = adjusted_supervision_complexity(kernel, logits - logits.mean(1, keepdim=True))
    close(adjusted_supervision_complexity(kernel, high), limit, 1e-5)


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
def test_loss_equals_torch(tau):
    student, teacher, labels = 2 * normal(0, 6, 4), 2 * normal(1, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    kl = F.kl_div(F.log_softmax(student / tau, 1), F.softmax(teacher / tau, 1), reduction="batchmean")
    close(distillation_loss(student, teacher, temperature=tau), tau**2 * kl)
    wanted = 0.7 * F.cross_entropy(student, labels) + 0.3 * tau**2 * kl
    close(distillation_loss(student, teacher, labels, temperature=tau, alpha=0.3), wanted)
    close(distillation_loss(student, teacher, labels, temperature=tau), tau**2 * kl)
    close(distillation_loss(student, teacher, labels, alpha=0), F.cross_entropy(student, labels))
    close(predictive_kl(student / tau, teacher / tau), kl)
    assert predictive_kl(student, student) == 0


@pytest.mark.parametrize("outputs", [1, 4])
def test_gradients_of_the_losses(outputs):
    student, teacher = normal(0, 6, outputs).requires_grad_(), normal(1, 6, outputs).requires_grad_()
    labels = torch.arange(6) % max(2, outputs)
    for loss in (
        lambda s: distillation_loss(s, teacher, labels, temperature=2.0, alpha=0.3),
        lambda s: squared_distillation_loss(s, teacher, temperature=2.0),
    ):
        assert torch.autograd.gradcheck(loss, (student,))
        assert torch.autograd.grad(loss(student), teacher, allow_unused=True)[0] is None
    (squared,) = torch.autograd.grad(squared_distillation_loss(student, teacher, temperature=2.0), student)
    close(squared, (student - soft_targets(teacher, 2.0)) / 6)
    ours = partial(distillation_loss, student, teacher)
    (gradient,) = torch.autograd.grad(ours(temperature=2.0), student)
    (limit,) = torch.autograd.grad(ours(temperature=1e6), student)
    if outputs == 1:
        close(gradient, 2 * (torch.sigmoid(student / 2) - torch.sigmoid(teacher / 2)) / 6)
        close(limit, (student - teacher) / 4 / 6, 1e-4)
    else:
        close(gradient, 2 * (F.softmax(student / 2, 1) - F.softmax(teacher / 2, 1)) / 6)
        difference = student - teacher
        close(limit, (difference - difference.mean(1, keepdim=True)) / outputs / 6, 1e-4)


def test_one_output_equals_two_classes():
    student, teacher, labels = normal(0, 8, 1), normal(1, 8, 1), torch.arange(8) % 2
    two = [torch.cat([torch.zeros_like(z), z], 1) for z in (student, teacher)]
    for alpha in (0.0, 0.4, 1.0):
        ours = distillation_loss(student, teacher, labels, temperature=3.0, alpha=alpha)
        close(ours, distillation_loss(*two, labels, temperature=3.0, alpha=alpha))
    bce = F.binary_cross_entropy_with_logits(student[:, 0], labels.double())
    close(distillation_loss(student, teacher, labels, alpha=0.0), bce)
    p, q = torch.sigmoid(teacher), torch.sigmoid(student)
    close(distillation_loss(student, teacher), (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean())
    close(predictive_kl(student, teacher), predictive_kl(*two))
    assert fidelity(student, teacher) == fidelity(*two) == float(((student > 0) == (teacher > 0)).double().mean())


def test_extreme_logits_stay_finite():
    student, teacher = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert distillation_loss(student, teacher) == 1e4
    close(soft_targets(teacher, 1.0), [[-0.5, 0.5]])


def test_losses_work_under_vmap():
    student, teacher, labels = normal(0, 3, 5, 4), normal(1, 3, 5, 4), torch.arange(15).view(3, 5) % 4
    ours = vmap(partial(distillation_loss, temperature=2.0, alpha=0.5))(student, teacher, labels)
    each = [distillation_loss(*one, temperature=2.0, alpha=0.5) for one in zip(student, teacher, labels, strict=True)]
    close(ours, torch.stack(each))
    for loss in (distillation_loss, squared_distillation_loss):
        for s, t in [(student, teacher), (student[..., :1], teacher[..., :1])]:
            close(vmap(loss)(s, t), torch.stack([loss(*one) for one in zip(s, t, strict=True)]))


def test_errors_of_the_losses():
    z, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="labels: got None with alpha 0.5"):
        distillation_loss(z, z, alpha=0.5)
    with pytest.raises(ValueError, match=r"must have one shape, got \(2, 3\) and \(2, 1\)"):
        distillation_loss(z, z[:, :1])
    with pytest.raises(ValueError, match=r"labels must be \[2\]"):
        distillation_loss(z, z, labels[:1])
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        distillation_loss(z[:, :1], z[:, :1], labels + 1)
    with pytest.raises(ValueError, match="teacher_logits must be finite"):
        distillation_loss(z, z * math.nan)
    with pytest.raises(TypeError, match="labels must be a tensor of integers"):
        distillation_loss(z, z, labels.float())
    for loss in (distillation_loss, squared_distillation_loss, fidelity, predictive_kl):
        with pytest.raises(TypeError, match="student_logits must be a floating tensor, got torch.int64"):
            loss(z.long(), z)
        with pytest.raises(TypeError, match="student_logits must be a floating tensor, got list"):
            loss([[0.0]], [[0.0]])
        with pytest.raises(ValueError, match=r"student_logits must be \[B, K\]"):
            loss(z[0], z[0])
        with pytest.raises(ValueError, match=r"student_logits must be \[B, K\]"):
            loss(z[:0], z[:0])
    for loss in (distillation_loss, squared_distillation_loss):
        with pytest.raises(ValueError, match="temperature must be positive"):
            loss(z, z, temperature=0)
    for alpha in (-0.1, 1.1):
        with pytest.raises(ValueError, match="alpha must be finite and lie in"):
            distillation_loss(z, z, labels, alpha=alpha)
    with pytest.raises(TypeError, match="logits must be a floating tensor"):
        soft_targets(labels, 1.0)
    for empty in (torch.zeros(()), torch.zeros(2, 0)):
        with pytest.raises(ValueError, match=r"logits must be \[..., C\]"):
            soft_targets(empty, 1.0)


# schedules and training


def test_schedule_edges():
    for total in (1, 2, 3, 7):
        assert teacher_checkpoint(0.0, total) == 1
        assert teacher_checkpoint(math.nextafter(1.0, 0.0), total) == total
        steps = 5 * total
        logits = torch.arange(1.0, total + 1).view(total, 1, 1)
        teacher = replay(logits, steps)
        chosen = [int(teacher(step, torch.tensor([0]))) for step in range(steps)]
        assert chosen == sorted(list(range(1, total + 1)) * 5)  # exact: 0.29 * 100 is below 29
    teacher = replay(torch.arange(100.0).view(100, 1, 1), 100)
    assert [int(teacher(step, torch.tensor([0]))) for step in range(100)] == list(range(100))
    for fraction in (-0.1, 1, 1.5):
        with pytest.raises(ValueError, match="fraction must"):
            teacher_checkpoint(fraction, 3)
    with pytest.raises(ValueError, match="num_checkpoints must be at least 1"):
        teacher_checkpoint(0.5, 0)
    with pytest.raises(ValueError, match="step must be below steps = 100, got 100; make a new loss for each fit"):
        teacher(100, torch.tensor([0]))


N = 24
INPUTS, LABELS = normal(7, N, 1, 3, 3).float(), torch.arange(N) % 3


def network(seed=0, **options):
    return build("mlp", 3, seed=seed, in_features=9, widths=(8,), **{"batch_norm": False, **options})


def student(loss, targets=None, steps=12):
    return fit(
        network(5), INPUTS, torch.arange(N) if targets is None else targets, loss=loss, steps=steps, batch_size=8,
        optimizer=partial(torch.optim.SGD, lr=0.1), generator=torch.Generator().manual_seed(3),
    )  # fmt: skip


def same(one, other):
    assert torch.equal(one.losses, other.losses)
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_one_stage_is_offline_distillation_bit_for_bit():
    teacher = network(1)(INPUTS).detach()
    loss = partial(distillation_loss, temperature=2.0)
    online = student(Distillation(replay(teacher[None], 12), loss=loss))
    same(online, student(loss, teacher))  # fit hands the teacher's logits over as targets
    mixed = partial(distillation_loss, alpha=0.0)
    labels_only = student(Distillation(replay(teacher[None], 12), LABELS, mixed))
    plain = student(F.cross_entropy, LABELS)
    torch.testing.assert_close(labels_only.losses, plain.losses)
    squared = student(Distillation(replay(teacher[None], 12), loss=squared_distillation_loss))
    same(squared, student(squared_distillation_loss, teacher))


def test_stages_follow_one_another():
    first, last = normal(0, N, 3).float(), normal(1, N, 3).float()
    online = student(Distillation(replay(torch.stack([first, last]), 12)))
    offline = student(Distillation(replay(first[None], 12)))
    assert torch.equal(online.losses[:6], offline.losses[:6])
    assert not torch.equal(online.losses[6:7], offline.losses[6:7])
    loss = Distillation(replay(first[None], 12))
    student(loss)
    assert loss.step == 12
    with pytest.raises(ValueError, match="make a new loss for each fit"):
        student(loss)


def test_a_frozen_teacher_that_trains_along_is_offline_distillation():
    model = network(1)
    frozen = partial(torch.optim.SGD, lr=0.0)
    joint = student(Distillation(train_along(model, INPUTS, LABELS, optimizer=frozen)))
    offline = student(Distillation(replay(network(1)(INPUTS).detach()[None], 12)))
    torch.testing.assert_close(joint.losses, offline.losses)


def test_a_teacher_that_trains_along_equals_one_that_fit_trains():
    """Same rows in the same order, so that the teacher passes through the checkpoints of its own ``fit``."""
    sgd = partial(torch.optim.SGD, lr=0.3, momentum=0.9)
    halves = partial(torch.optim.lr_scheduler.StepLR, step_size=4, gamma=0.5)
    alone = fit(
        network(1, batch_norm=True), INPUTS, LABELS, loss=F.cross_entropy, optimizer=sgd, schedule=halves, steps=12,
        batch_size=8, generator=torch.Generator().manual_seed(3), keep=range(13),
    )  # fmt: skip
    logits = cached_logits(network(0, batch_norm=True), alone.checkpoints, INPUTS)
    assert logits.shape == (12, N, 3)
    replayed = student(Distillation(replay(logits, 12)))
    model = network(1, batch_norm=True).eval()
    along = student(Distillation(train_along(model, INPUTS, LABELS, optimizer=sgd, schedule=halves)))
    torch.testing.assert_close(along.losses, replayed.losses)
    for a, b in zip(model.state_dict().values(), alone.checkpoints[12].values(), strict=True):
        torch.testing.assert_close(a, b)


def test_cached_logits():
    model = network(0, batch_norm=True)
    run = fit(
        model, INPUTS, LABELS, loss=F.cross_entropy, optimizer=partial(torch.optim.SGD, lr=0.1), steps=6, batch_size=8,
        generator=torch.Generator().manual_seed(0), keep=[0, 2, 4, 6],
    )  # fmt: skip
    logits = cached_logits(model, run.checkpoints, INPUTS)
    assert model.training
    assert logits.dtype == torch.float32 and logits.shape == (3, N, 3)
    torch.testing.assert_close(logits[-1], model.eval()(INPUTS).detach())
    torch.testing.assert_close(cached_logits(model, run.checkpoints, INPUTS, batch_size=5), logits)
    torch.testing.assert_close(cached_logits(model, run.checkpoints, INPUTS[3:4])[:, 0], logits[:, 3])
    other = network(4, batch_norm=True).eval()
    before = [tensor.clone() for tensor in other.state_dict().values()]
    assert torch.equal(cached_logits(other, dict(reversed(run.checkpoints.items())), INPUTS), logits)
    assert all(torch.equal(*pair) for pair in zip(before, other.state_dict().values(), strict=True))
    assert not other.training
    chosen = cached_logits(model, run.checkpoints, INPUTS, steps=[6, 0])
    assert torch.equal(chosen[0], logits[2]) and not torch.equal(chosen[1], logits[0])
    with pytest.raises(ValueError, match=r"got steps \[0, 2, 4, 6\] and need step 3"):
        cached_logits(model, run.checkpoints, INPUTS, steps=[2, 3])
    for none in ({}, {0: run.checkpoints[0]}):
        with pytest.raises(ValueError, match="need at least one after step 0"):
            cached_logits(model, none, INPUTS)
    with pytest.raises(ValueError, match="step 2 does not fit the model: .*Missing key"):
        cached_logits(model, {2: {}}, INPUTS)


def test_errors_of_the_teachers():
    with pytest.raises(ValueError, match=r"logits must be a floating tensor \[T, N, C\], got torch.float32 \(2, 3\)"):
        replay(torch.zeros(2, 3), 5)
    with pytest.raises(ValueError, match="logits must be finite"):
        replay(torch.full((1, 2, 3), math.nan), 5)
    with pytest.raises(ValueError, match="steps must be at least 1"):
        replay(torch.zeros(1, 2, 3), 0)
    with pytest.raises(ValueError, match="labels: got 23 rows for 24 inputs"):
        train_along(network(), INPUTS, LABELS[1:], optimizer=torch.optim.SGD)


# comparisons


def test_similarity_of_linear_models():
    x, y = normal(0, 5, 3), normal(1, 5, 3)
    model = nn.Linear(3, 1, bias=False).double()
    a, b = ntk(model, x), ntk(model, y)
    wanted = (x @ x.T * (y @ y.T)).sum() / ((x @ x.T).norm() * (y @ y.T).norm())
    close(ntk_similarity(a, b), wanted)
    close(ntk_similarity(a, 3 * a), 1.0)
    two = ntk(nn.Linear(3, 2, bias=False).double(), x), ntk(nn.Linear(3, 2, bias=False).double(), y)
    close(ntk_similarity(*two), wanted)  # identity blocks for both classes
    centre = (torch.eye(5) - 1 / 5).double()
    c, d = (centre @ k[:, 0, :, 0] @ centre for k in (a, b))
    close(ntk_similarity(a, b, centered=True), (c * d).sum() / (c.norm() * d.norm()))
    biased = ntk(nn.Linear(3, 1).double(), x)  # a bias adds a constant to the kernel
    close(ntk_similarity(a, biased, centered=True), 1.0)
    assert ntk_similarity(a, biased) < 0.999
    with pytest.raises(ValueError, match="kernel_b must be shaped as kernel_a"):
        ntk_similarity(a, two[1])
    for constant in (torch.ones(4, 4), torch.full((7, 7), 0.7, dtype=torch.float64)):
        with pytest.raises(ValueError, match="kernel_b must not be zero"):
            ntk_similarity(torch.eye(len(constant)), constant, centered=True)


def test_fidelity():
    student = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0], [3.0, 0.0, 1.0]])
    assert fidelity(student, student[[0, 1, 0, 2]]) == 0.5


def test_no_warning_on_ordinary_kernels():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs = normal(0, 40, 1, 28, 28).float()
        kernel = ntk(build("lenet", 1, seed=0), inputs)
        in_float32 = supervision_complexity(kernel, torch.ones(40, 1))
    torch.testing.assert_close(in_float32, supervision_complexity(kernel.double(), torch.ones(40, 1)))
