"""How fast are other packages at what the library does, on the same inputs and with the same results?

Runs after compare.py in ``make bench-peers`` and writes book/results/peers/speed.json, which the page
Performance shows.

- neural-tangents: the empirical kernel of the same network with the same weights, by the fastest of its three methods.
  It imports TensorFlow for a part that is not needed here; an empty module stands in its place. JAX compiles at the
  first call; the seconds of that call, less those of a later one, are in the note.
- torch: the two ways of the tutorial on tangent kernels of ``torch.func``, contraction of Jacobians and products with
  one-hot vectors.
- pyDVL: influence on a linear model, where the Gauss-Newton matrix is the Hessian and both are exact.
- TRAK: influence on a trained network, from random projections where ours is exact, so that answers differ; it has a
  faster projector for CUDA alone.
- cleanlab: for two classes its self-confidence is LIMIT's label score but for a factor; and confidences out of sample
  from five folds, ours trained in one batch, cleanlab's by the wrapper that it asks for.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"  # before JAX is loaded

import sys
import time
import types
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cleanlab
import numpy as np
import torch
from pydvl.influence.torch import DirectInfluence
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.modules["neural_tangents.experimental"] = types.ModuleType("neural_tangents.experimental")
import generalization  # noqa: E402
import jax  # noqa: E402
import neural_tangents  # noqa: E402
import tangent  # noqa: E402
from compare import by_pydvl, by_trak  # noqa: E402
from harness import HEADER, agree, alternate, duration, row, seconds, text, write  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402
from sklearn.metrics import roc_auc_score  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402

from infocap.attribution import gauss_newton_influence, self_confidence  # noqa: E402
from infocap.data import load  # noqa: E402
from infocap.label_noise import mislabel_score  # noqa: E402
from infocap.networks import build, seeded  # noqa: E402
from infocap.tangent import ntk  # noqa: E402
from infocap.training import fit  # noqa: E402

RESULT = Path(__file__).parents[3] / "book/results/peers/speed.json"
FEW = 20  # examples on which the methods of neural-tangents are compared
STEPS, BATCH = 400, 64
PACKAGES = ("neural-tangents", "jax", "jaxlib", "pydvl", "traker", "cleanlab", "torch")


def main():
    torch.set_num_threads(1)
    threadpool_limits(1)
    warnings.filterwarnings("ignore", module="pydvl")
    started, found = time.perf_counter(), []
    print(HEADER)
    for make in (neural_tangents_rows, torch_rows, pydvl_row, trak_row, cleanlab_rows):
        for line in make():
            found.append(line)
            print(text(line), flush=True)
    peers = {name: version(name) for name in PACKAGES}
    write(RESULT, found, round(time.perf_counter() - started, 1), peers=peers)


def dense_in_jax(weights, inputs):
    signal = inputs.reshape(len(inputs), -1)
    for layer, (weight, bias) in enumerate(weights):
        signal = (jax.nn.relu(signal) if layer else signal) @ weight + bias
    return signal


def convolutional_in_jax(weights, inputs):
    *convolutions, (weight, bias) = weights
    signal = inputs
    for kernel, offset in convolutions:
        signal = jax.lax.conv_general_dilated(signal, kernel, (2, 2), [(1, 1), (1, 1)])
        signal = jax.nn.relu(signal + offset[:, None, None])
    return signal.reshape(len(inputs), -1) @ weight + bias


def neural_tangents_rows():
    for label, make, same, n in (
        ("MLP 784-512-512-10", tangent.mlp, dense_in_jax, 500),
        ("CNN, 16 and 32 channels", tangent.cnn, convolutional_in_jax, 100),
    ):
        model, inputs = seeded(make, 0), tangent.images(n, 1, 28, 28)
        arrays = [parameter.detach().numpy() for parameter in model.parameters()]
        # in the layout for which neural-tangents has rules: behind a transpose it takes general ones
        tensors = [jax.numpy.asarray(array.T if array.ndim == 2 else array) for array in arrays]
        weights = list(zip(tensors[::2], tensors[1::2], strict=True))

        def kernel(method, n, same=same, weights=weights, inputs=inputs):
            compiled = jax.jit(
                neural_tangents.empirical_ntk_fn(same, trace_axes=(), vmap_axes=0, implementation=method)
            )
            images = jax.numpy.asarray(inputs[:n].numpy())
            return lambda: compiled(images, None, weights).block_until_ready()

        methods = [method for method in neural_tangents.NtkImplementation if method.name != "AUTO"]
        times = {}
        for method in methods:
            run = kernel(method, FEW)
            run()
            times[method] = seconds(run)
        best = min(times, key=times.get)
        theirs = kernel(best, n)
        first = seconds(theirs)
        result = torch.from_numpy(np.array(theirs())).permute(0, 2, 1, 3)
        operation = f"NTK, {label}, n = {n}, float32 / neural-tangents"
        agree(operation, ntk(model, inputs), result, 1e-4)
        ours, reference = alternate(
            lambda model=model, inputs=inputs: seconds(partial(ntk, model, inputs)), partial(seconds, theirs),
            repetitions=3,
        )  # fmt: skip
        small = ", ".join(f"{method.name.lower().replace('_', ' ')} {duration(1e3 * t)}" for method, t in times.items())
        compilation = duration(max(0.0, 1e3 * first - min(reference)))
        note = f"compilation {compilation}, not counted; its methods at n = {FEW}: {small}; the fastest is used"
        yield row(operation, ours, reference, at_least=0, note=note)


def torch_rows():
    """Both ways at sizes that they can do; ours at the same size."""

    def products(model, inputs):
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def block(one, other):
            def outputs(parameters, example):
                return functional_call(model, parameters, (example[None],))[0]

            answer, back = vjp(lambda p: outputs(p, one), parameters)

            def forward(vector):
                return jvp(lambda p: outputs(p, other), (parameters,), back(vector))[1]

            return vmap(forward)(torch.eye(len(answer)))

        rows = vmap(vmap(block, (None, 0)), (0, None), chunk_size=1)  # a vector as long as the weights for each output
        result = rows(inputs, inputs)  # [n, n, C, C]
        return result.permute(0, 2, 1, 3)

    def contraction(model, inputs):
        rows = tangent.jacobian(model, inputs)
        return (rows @ rows.T).view(len(inputs), 10, len(inputs), 10)

    for label, make in (("MLP 784-512-512-10", tangent.mlp), ("CNN, 16 and 32 channels", tangent.cnn)):
        for way, recipe, n in (("contraction of Jacobians", contraction, 20), ("NTK-vector products", products, 10)):
            model, inputs = seeded(make, 0), tangent.images(n, 1, 28, 28)
            operation = f"NTK, {label}, n = {n}, float32 / torch.func, {way}"
            agree(operation, ntk(model, inputs), recipe(model, inputs), 1e-4)
            ours, reference = alternate(
                *(partial(seconds, partial(run, model, inputs)) for run in (ntk, recipe)), repetitions=3
            )
            yield row(operation, ours, reference, at_least=0)


def pydvl_row():
    n, m, generator = 1000, 200, torch.Generator().manual_seed(0)
    x, z = torch.randn(n, 196, generator=generator), torch.randn(m, 196, generator=generator)
    y, model = torch.randn(n, 1, generator=generator), seeded(lambda: nn.Linear(196, 1), 0)

    def ours():
        return gauss_newton_influence(model, x, y, z, damping=0.1).prediction_shift[..., 0]

    def theirs():
        return by_pydvl(model, (x, x), (y, y), z, 0.1, DirectInfluence).detach() / n

    operation = f"influence of {n:,} examples on {m} outputs, linear / pyDVL"
    agree(operation, ours(), theirs(), 1e-3)
    times = alternate(partial(seconds, ours), partial(seconds, theirs), repetitions=5)
    note = "both solve among the weights, ours in float64, pyDVL in float32"
    yield row(operation, *times, at_least=0, note=note)


def trak_row():
    n, m, width, projections = 500, 200, 256, 1024
    inputs, eval_inputs = tangent.images(n + m, 1, 14, 14).split((n, m))
    targets = (inputs.flatten(1).mean(1, keepdim=True) > 0.5).float()
    model = build("mlp", 1, seed=0, in_features=196, widths=(width,), batch_norm=False)
    squares = {"loss": nn.functional.mse_loss, "optimizer": generalization.adam}
    fit(model, inputs, targets, steps=STEPS, batch_size=BATCH, generator=torch.Generator().manual_seed(0), **squares)

    def ours():
        return gauss_newton_influence(model, inputs, targets, eval_inputs, damping=0.1).prediction_shift[..., 0]

    def theirs():
        return by_trak(model, inputs, targets, eval_inputs, projections, 0)

    ranks = spearmanr(*(answer().double().square().mean(1) for answer in (ours, theirs))).statistic
    times = alternate(partial(seconds, ours), partial(seconds, theirs), repetitions=3)
    operation = f"influence of {n} examples on {m} outputs, MLP 196-{width}-1 / TRAK, {projections:,} projections"
    yield row(operation, *times, at_least=0, note=f"rank correlation of the two scores of examples {ranks:.3f}")


class Wrapped(ClassifierMixin, BaseEstimator):
    """A network as cleanlab asks for one: fitted by a plain loop over batches."""

    def fit(self, inputs, labels):
        self.classes_ = np.unique(labels)
        inputs, labels = torch.from_numpy(inputs), torch.from_numpy(labels)
        self.model_ = seeded(generalization.mlp, 0)
        optimizer = generalization.adam(self.model_.parameters())
        order = torch.Generator().manual_seed(0)
        for _ in range(STEPS):
            rows = torch.randint(len(labels), (BATCH,), generator=order)
            optimizer.zero_grad()
            cross_entropy(self.model_(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        return self

    def predict_proba(self, inputs):
        with torch.no_grad():
            return self.model_(torch.from_numpy(inputs)).double().softmax(1).numpy()

    def predict(self, inputs):
        return self.predict_proba(inputs).argmax(1)


def cleanlab_rows():
    generator = torch.Generator().manual_seed(0)
    n = 100_000
    logits, labels = 3 * torch.randn(n, 2, generator=generator), torch.randint(2, (n,), generator=generator)
    probabilities = logits.double().softmax(1).numpy()

    def theirs():
        return cleanlab.rank.get_label_quality_scores(labels.numpy(), probabilities, method="self_confidence")

    operation = f"label scores of {n:,} examples, 2 classes / cleanlab"
    agree(operation, mislabel_score(logits, labels), 2**0.5 * (1 - torch.from_numpy(theirs())), 1e-9)
    times = alternate(lambda: seconds(partial(mislabel_score, logits, labels)), partial(seconds, theirs), repetitions=9)
    yield row(operation, *times, at_least=0, note="ours starts from logits, cleanlab from probabilities")

    data = load("fashion-mnist")
    chosen = ((data.train_labels == 2) | (data.train_labels == 4)).nonzero()[:2000, 0]
    inputs = nn.functional.avg_pool2d(data.train_inputs[chosen], 2)
    flipped = torch.rand(2000, generator=generator) < 0.2
    given = (data.train_labels[chosen] == 4).long() ^ flipped

    def ours():
        return self_confidence(
            generalization.mlp, inputs, given, optimizer=generalization.adam, steps=STEPS, batch_size=BATCH
        )

    def whole():
        issues = cleanlab.classification.CleanLearning(Wrapped(), cv_n_folds=5, seed=0, verbose=False)
        return issues.find_label_issues(inputs.numpy(), given.numpy())["label_quality"].to_numpy()

    finds = [float(roc_auc_score(flipped, 1 - np.asarray(scores))) for scores in (ours(), whole())]
    times = alternate(partial(seconds, ours), partial(seconds, whole), repetitions=3)
    note = f"folds and order differ, so that results may too: AUC for flipped labels {finds[0]:.3f} and {finds[1]:.3f}"
    yield row("confidence out of sample, 5 folds, n = 2,000 / cleanlab's CleanLearning", *times, at_least=0, note=note)


if __name__ == "__main__":
    main()
