"""What do the measures say? The tables of the synthesis as frames of examples, of rows, and of rank correlations."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from infocap.bounds import SupersampleRuns, row_information
from infocap.information import mutual_information
from infocap.memorization import memorization_score
from infocap.study.tables import NotRun, Table, value_text

__all__ = [
    "BASELINES", "CHAIN", "FOUR", "NAMES", "certificates", "chain", "concentration", "correlations",
    "correlations_with", "detection", "examples", "overview", "rows", "runs", "settings",
]  # fmt: skip

FOUR = ("limit", "f_si", "f_cmi", "complexity")  # one of each part
BASELINES = ("loss", "margin", "forgetting")
NAMES = {
    "limit": "LIMIT's label score",
    "si": "SI",
    "f_si": "F-SI",
    "f_cmi": "f-CMI",
    "complexity": "share of complexity",
    "loss": "loss",
    "margin": "negative margin",
    "forgetting": "forgetting events",
    "memorization": "memorization",
    "gap": "share of the gap",
}
CHAIN = {  # smaller to larger, in nats per example, with the reason
    ("label", "total"): "chain rule",
    ("label", "label_unique"): "independent labels",
    ("label_unique", "unique"): "chain rule",
    ("single", "total"): "independent examples",
    ("total", "unique"): "independent examples",
    ("unique", "sample"): "any other law in place of the marginal one",
    ("row_f", "f_cmi"): "independent coins",
    ("f_cmi", "cmi"): "data processing",
    ("row_f", "row"): "data processing",
    ("row", "cmi"): "independent coins",
    ("cmi", "row_unique"): "independent coins",
    ("cmi", "total"): "chain rule",
    ("row_unique", "unique"): "chain rule",
}


def chain(table: Table) -> pd.DataFrame:
    """One row per learner and inequality: ``smaller``, ``larger``, their values and the ``slack``."""
    lines = []
    for cell in table.frame.to_dict("records"):
        for (smaller, larger), reason in CHAIN.items():
            low, high = cell[smaller], cell[larger]
            names = {"learner": cell["learner"], "n": cell["n"], "strength": cell["strength"], "seed": cell["seed"]}
            lines.append(names | {"smaller": smaller, "larger": larger, "reason": reason, "slack": high - low})
    return pd.DataFrame(lines)


def runs(table: Table, place: int, held_out: bool = False) -> SupersampleRuns:
    """The predictions of one cell, of the halves that give scores or of those that are held out."""
    arrays, prefix = table.arrays[place], "held_out_" if held_out else ""
    parts = [arrays[name].astype(np.int64)[None] for name in (f"{prefix}selectors", f"{prefix}predictions", "labels")]
    return SupersampleRuns(*map(torch.from_numpy, parts), num_classes=len(table.frame["classes"].iloc[place]))


def examples(table: Table, place: int) -> pd.DataFrame:
    """All measures of one cell, one line per example.

    Returns:
        ``row``, ``column``, ``label``, ``wrong`` (the label was flipped), the names of ``NAMES``, and
        ``memorization_error``. Here ``f_cmi`` is what the predictions on this one example tell of its coin, and
        ``gap`` the memorization score in the held-out halves.
    """
    arrays, first = table.arrays[place], runs(table, place)
    n = first.selectors.shape[2]
    frame = pd.DataFrame({"row": np.repeat(np.arange(n), 2), "column": np.tile([0, 1], n)})
    frame["label"] = arrays["labels"].ravel()
    frame["wrong"] = arrays["labels"].ravel() != arrays["clean"].ravel()
    for name in ("limit", "si", "f_si", "complexity", *BASELINES):
        frame[name] = arrays[name].ravel()
    frame["f_cmi"] = _information_of_examples(first).ravel()
    own = _memorization(first)
    frame["memorization"], frame["memorization_error"] = own.score.numpy(), own.standard_error.numpy()
    return frame.assign(gap=_memorization(runs(table, place, held_out=True)).score.numpy())


def rows(table: Table, place: int) -> pd.DataFrame:
    """The same by rows of the supersample: means over both examples, and ``f_cmi`` from both predictions together."""
    frame = examples(table, place).drop(columns=["column", "label"]).groupby("row", as_index=False).mean()
    return frame.assign(f_cmi=row_information(runs(table, place))[0].numpy())


def correlations(table: Table, name: str) -> pd.DataFrame:
    """Spearman's rank correlations over the rows of each supersample, NaN where a measure is constant.

    Returns:
        A square of measures for each supersample, indexed by ``seed`` and ``measure``.
    """
    squares = {seed: rows(table, place)[list(NAMES)].corr(method="spearman") for place, seed in _cells(table, name)}
    return pd.concat(squares, names=["seed", "measure"])


def correlations_with(table: Table, name: str, target: str = "gap") -> pd.DataFrame:
    """Rank correlation of each measure with the target: one column per measure, one line per supersample."""
    return correlations(table, name)[target].unstack("measure")[[key for key in NAMES if key != target]]


def detection(table: Table, name: str = "noisy") -> pd.DataFrame:
    """Area under the ROC curve of each measure for wrong labels: one column per measure, one line per supersample."""
    from sklearn.metrics import roc_auc_score  # takes a second, which few who import this module need

    lines = []
    for place, seed in _cells(table, name):
        frame = examples(table, place)
        if frame["wrong"].nunique() < 2:
            raise NotRun(f"panel {name}, supersample {seed}: no wrong labels, or no others")
        lines.append({"seed": seed} | {key: roc_auc_score(frame["wrong"], frame[key]) for key in NAMES if key != "gap"})
    return pd.DataFrame(lines).set_index("seed")


def concentration(table: Table, name: str, share: float = 0.1) -> list[float]:
    """The part of the held-out gap due to the ``share`` of examples that are memorized most, by supersample.

    NaN where there is no gap.
    """
    values = []
    for place, _ in _cells(table, name):
        frame = examples(table, place).sort_values("memorization", ascending=False, kind="stable")
        top = frame.head(round(share * len(frame)))
        gap = float(frame["gap"].sum())
        values.append(float(top["gap"].sum()) / gap if gap else float("nan"))
    return values


def certificates(table: Table, name: str) -> pd.DataFrame:
    """For each row of each supersample: ``gap``, mean memorization of its examples, and ``bound``, sqrt(2 f-CMI)."""
    parts = []
    for place, seed in _cells(table, name):
        frame = rows(table, place)
        parts.append(pd.DataFrame({"seed": seed, "gap": frame["memorization"], "bound": np.sqrt(2 * frame["f_cmi"])}))
    return pd.concat(parts, ignore_index=True)


def overview(table: Table) -> pd.DataFrame:
    """Rank correlation of each measure with the share of the gap, and its AUC for wrong labels, with intervals."""
    clean, noisy = (correlations_with(table, name) for name in ("clean", "noisy"))
    found = detection(table)
    return pd.DataFrame(
        [
            {
                "measure": NAMES[key],
                "with the gap, clean": value_text(clean[key], 2),
                "with the gap, noisy": value_text(noisy[key], 2),
                "AUC for wrong labels": value_text(found[key], 2),
            }
            for key in clean
        ]
    )


def settings(table: Table) -> pd.DataFrame:
    """How much was run, and the errors of the networks on their two halves."""
    lines = []
    for name in ("clean", "noisy"):
        found = table.panel(name)
        every = [runs(table, place) for place in found.index]
        lines.append(
            {
                "labels": name,
                "supersamples": len(found),
                "rows": int(found["n"].iloc[0]),
                "networks on each": 2 * int(found["draws"].iloc[0]),
                "training error": value_text([float(one.train_error) for one in every]),
                "test error": value_text([float(one.test_error) for one in every]),
            }
        )
    return pd.DataFrame(lines)


def _cells(table: Table, name: str) -> Iterator[tuple[int, int]]:
    """Place and seed of each supersample of a panel."""
    found = table.panel(name)
    yield from zip(found.index, found["seed"], strict=True)


def _memorization(one: SupersampleRuns):
    """Of all examples ``[2 n]`` of one supersample, column 0 before column 1 of each row."""
    chosen = torch.stack([1 - one.selectors[0], one.selectors[0]], -1)
    return memorization_score(chosen.flatten(1), (1 - one.errors[0]).flatten(1))


def _information_of_examples(one: SupersampleRuns) -> np.ndarray:
    """``I(prediction at an example; its coin)`` for each example, ``[n, 2]``."""
    values = (one.predictions[0] * 2 + one.selectors[0][..., None]).flatten(1).T  # [2 n, draws]
    counts = torch.zeros(len(values), 2 * one.num_classes, dtype=torch.long)
    counts.scatter_add_(1, values, torch.ones_like(values))
    return mutual_information(counts.view(-1, one.num_classes, 2)).view(-1, 2).numpy()
