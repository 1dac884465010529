"""What do the stored predictions say? Rows of ``generalization/training`` as runs, gaps and bounds."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from infocap.bounds import (
    SupersampleRuns,
    all_bounds,
    fcmi_bound,
    generalization_gap,
    row_information,
    sgld_bound,
    squared_stability_bound,
    stability_bound,
)
from infocap.experiments.generalization.toys import information_of_rows
from infocap.study.tables import NotRun, Table, interval, value_text

__all__ = [
    "PANEL_NAMES", "PAPER_MEANS", "beside_the_paper", "bounds", "by_draws", "by_size", "finished_sizes", "langevin",
    "largest", "pairs_of_rows", "runs", "settings", "sizes", "stability", "through_training", "toy",
]  # fmt: skip

# Means over supersamples of gap and f-CMI bound in the paper's experiments: five with 30 draws each, for CIFAR-10 one
# with 40. Those of Langevin dynamics are read off a figure, at its last epoch.
PAPER_MEANS = pd.DataFrame(
    [
        ("paper", 75, 0.08347, 0.22257),
        ("paper", 250, 0.03451, 0.09499),
        ("paper", 1000, 0.01411, 0.04081),
        ("paper", 4000, 0.00814, 0.02655),
        ("paper_wide", 75, 0.09253, 0.23986),
        ("paper_wide", 250, 0.03739, 0.11018),
        ("paper_wide", 1000, 0.01335, 0.03949),
        ("paper_wide", 4000, 0.00789, 0.02541),
        ("paper_randomized", 75, 0.08924, 0.24268),
        ("paper_randomized", 250, 0.03627, 0.10733),
        ("paper_randomized", 1000, 0.01553, 0.04673),
        ("paper_randomized", 4000, 0.00806, 0.02571),
        ("cifar10", 1000, 0.13248, 0.34686),
        ("cifar10", 5000, 0.09543, 0.28067),
        ("cifar10", 20000, 0.04994, 0.15908),
        ("sgld", 4000, 0.010, 0.033),
        ("cifar10_sgld", 20000, 0.039, 0.106),
    ],
    columns=["panel", "n", "gap", "bound"],
)
PANEL_NAMES = {
    "paper": "MNIST 4/9",
    "easy": "sneakers, boots",
    "hard": "pullovers, coats",
    "wide": "sneakers, boots, 4 times as wide",
    "randomized": "sneakers, boots, randomized",
}
_PAPER_NAMES = {
    "paper": "MNIST 4/9, CNN",
    "paper_randomized": "MNIST 4/9, CNN, randomized",
    "paper_wide": "MNIST 4/9, CNN, 4 times as wide",
    "cifar10": "CIFAR-10, ResNet-50",
    "sgld": "MNIST 4/9, CNN, Langevin",
    "cifar10_sgld": "CIFAR-10, ResNet-50, Langevin",
}


def sizes(table: Table, name: str) -> list[int]:
    """The training set sizes of a panel, smallest first; raises as ``panel`` does."""
    return sorted(table.panel(name)["n"].unique().tolist())


def runs(table: Table, rows: pd.DataFrame, look: int = -1) -> SupersampleRuns:
    """The predictions of rows of one panel and one n, supersamples in the order of ``rows``; after training, or before.

    Args:
        table: ``generalization/training``.
        rows: From ``panel``, of one n.
        look: Which of the epochs in the column ``at``.
    """
    arrays = [table.arrays[place] for place in rows.index]
    selectors, predictions, labels = (
        torch.from_numpy(np.stack(parts).astype(np.int64))
        for parts in (
            [one["selectors"] for one in arrays],
            [one["predictions"][look] for one in arrays],
            [one["labels"] for one in arrays],
        )
    )
    return SupersampleRuns(selectors, predictions, labels, len(rows["classes"].iloc[0]))


def largest(table: Table, name: str) -> SupersampleRuns:
    """The predictions of a panel at its largest n, after training."""
    rows = table.panel(name)
    return runs(table, rows[rows["n"] == rows["n"].max()])


def by_size(table: Table, name: str) -> pd.DataFrame:
    """Gap and f-CMI bound of a panel, one row per n and supersample.

    Returns:
        ``panel``, ``n``, ``seed``, ``train_error``, ``test_error``, ``gap``, ``bound``, and ``corrected``, the bound
        after chance correction, which is no certificate.
    """
    return _sizes(table, table.panel(name))


def finished_sizes(table: Table) -> pd.DataFrame:
    """The same for everything that was run, also of panels that are not complete; the index is the table's."""
    return _sizes(table, table.frame)


def _sizes(table: Table, cells: pd.DataFrame) -> pd.DataFrame:
    lines = []
    for (name, n), rows in cells.groupby(["panel", "n"]):
        one = runs(table, rows)
        lines.append(
            pd.DataFrame(
                {
                    "panel": name,
                    "n": n,
                    "seed": rows["seed"].to_numpy(),
                    "train_error": one.train_error,
                    "test_error": one.test_error,
                    "gap": generalization_gap(one),
                    "bound": fcmi_bound(one),
                    "corrected": fcmi_bound(one, "chance"),
                },
                index=rows.index,
            )
        )
    return pd.concat(lines)


def beside_the_paper(table: Table) -> pd.DataFrame:
    """The paper's mean gap and bound beside ours with 95 % t intervals; a dash where the profile has no such run."""
    lines = []
    for paper in PAPER_MEANS.to_dict("records"):
        line = {"network": _PAPER_NAMES[paper["panel"]], "n": paper["n"]}
        try:
            ours = by_size(table, paper["panel"])
            ours = ours[ours["n"] == paper["n"]]
        except NotRun:
            ours = pd.DataFrame()
        for quantity in ("gap", "bound"):
            line[f"{quantity}, paper"] = f"{paper[quantity]:g}"
            line[f"{quantity}, here"] = "not run" if ours.empty else value_text(ours[quantity])
        lines.append(line)
    return pd.DataFrame(lines)


def settings(table: Table, names: Sequence[str]) -> pd.DataFrame:
    """How much was run: one line per panel and n with its supersamples (k1), draws (k2), epochs and errors."""
    lines = []
    for name in names:
        errors = by_size(table, name)
        for n, rows in table.panel(name).groupby("n"):
            part = errors[errors["n"] == n]
            lines.append(
                {
                    "data": PANEL_NAMES[name],
                    "n": n,
                    "supersamples": len(rows),
                    "draws": rows["draws"].iloc[0],
                    "epochs": rows["epochs"].iloc[0],
                    "training error": value_text(part["train_error"]),
                    "gap": value_text(part["gap"]),
                    "f-CMI bound": value_text(part["bound"]),
                    "chance-corrected": value_text(part["corrected"]),
                }
            )
    return pd.DataFrame(lines)


def bounds(one: SupersampleRuns, *own: Callable[[SupersampleRuns], torch.Tensor]) -> pd.DataFrame:
    """Every bound of the registry as a bound on the gap: those on the test error less the training error.

    Args:
        one: The predictions.
        own: Further bounds on the gap, functions of the predictions with values ``[k1]``.

    Returns:
        As ``infocap.bounds.all_bounds``, with ``mean``, ``low``, ``high`` (95 % t interval over supersamples).
    """
    frame = all_bounds(one)
    train = one.train_error.numpy()
    frame["values"] = [
        values - train if what == "test error" else values
        for values, what in zip(frame["values"], frame["bounds"], strict=True)
    ]
    mine = [
        {"name": bound.__name__, "bounds": "gap", "certificate": False, "source": "own", "values": bound(one).numpy()}
        for bound in own
    ]
    frame = pd.concat([frame, pd.DataFrame(mine)], ignore_index=True) if mine else frame
    frame["mean"] = [values.mean() for values in frame["values"]]
    frame[["low", "high"]] = [interval(values) for values in frame["values"]]
    return frame


def through_training(table: Table, name: str, n: int) -> pd.DataFrame:
    """One row per epoch that was looked at, and supersample: errors, gap and every bound, by name."""
    rows = table.panel(name)
    rows = rows[rows["n"] == n]
    lines = []
    for look, epoch in enumerate(rows["at"].iloc[0]):
        one = runs(table, rows, look)
        every = bounds(one).set_index("name")["values"]
        corrected = fcmi_bound(one, "chance")
        for place, seed in enumerate(rows["seed"]):
            lines.append(
                {
                    "epoch": epoch,
                    "seed": seed,
                    "train_error": float(one.train_error[place]),
                    "test_error": float(one.test_error[place]),
                    "gap": float(generalization_gap(one)[place]),
                    "corrected": float(corrected[place]),
                    **{bound: float(values[place]) for bound, values in every.items()},
                }
            )
    return pd.DataFrame(lines)


def langevin(table: Table, name: str = "sgld") -> pd.DataFrame:
    """``through_training`` of Langevin dynamics with the bounds of Negrea et al. (2019) at the same epochs.

    Returns:
        The columns of ``through_training``; ``negrea``, the mean over the draws that were followed; and
        ``negrea_miscaled``, the same formula for noise that is smaller by a factor beta, as the papers' code injects.
    """
    rows = table.panel(name)
    lines = through_training(table, name, int(rows["n"].iloc[0]))
    for place, row in rows.iterrows():
        arrays = {key: torch.from_numpy(np.asarray(table.arrays[place][key])) for key in (
            "learning_rates", "inverse_temperatures", "gradient_variances")}  # fmt: skip
        steps = [epoch * row["per_epoch"] - 1 for epoch in row["at"]]
        batch = min(row["batch_size"], row["n"])
        for column, power in (("negrea", 1), ("negrea_miscaled", 3)):
            value = sgld_bound(
                row["n"], batch, arrays["learning_rates"], arrays["inverse_temperatures"] ** power,
                arrays["gradient_variances"],
            )  # fmt: skip
            lines.loc[lines["seed"] == row["seed"], column] = value.mean(0)[steps].tolist()
    return lines


def by_draws(table: Table, counts: Sequence[int] = (6, 10, 20, 30, 60, 120)) -> pd.DataFrame:
    """What fewer draws would have given: the bound from groups of draws, complements kept together, and from all.

    For the ``draws`` panel; each line is a mean over all disjoint groups of one supersample. ``independent`` is the
    plug-in bound of the same predictions against the selectors of another supersample, which know nothing of them.
    """
    rows = table.panel("draws")
    one, lines = runs(table, rows), []
    total = one.selectors.shape[1]
    foreign = SupersampleRuns(one.selectors.roll(1, 0), one.predictions, one.labels, one.num_classes)
    for count in [*(count for count in counts if count < total), total]:
        halves = torch.arange(total // 2).split(count // 2)
        groups = [torch.cat([half, half + total // 2]) for half in halves if len(half) == count // 2]
        estimates = {
            "bound": [fcmi_bound(one.draws(group)) for group in groups],
            "corrected": [fcmi_bound(one.draws(group), "chance") for group in groups],
            "miller_madow": [fcmi_bound(one.draws(group), "miller-madow") for group in groups],
            "information": [row_information(one.draws(group)).mean(1) for group in groups],
            "independent": [fcmi_bound(foreign.draws(group)) for group in groups],
        }
        means = {name: torch.stack(values).mean(0) for name, values in estimates.items()}
        for place, seed in enumerate(rows["seed"]):
            lines.append(
                {"draws": count, "seed": seed, "groups": len(groups)}
                | {name: float(values[place]) for name, values in means.items()}
            )
    return pd.DataFrame(lines)


def pairs_of_rows(one: SupersampleRuns) -> pd.DataFrame:
    """What the predictions on two rows tell about their two coins, in nats; exact if each selector occurs once.

    Returns:
        One row per supersample and pair of rows: ``supersample``, ``row``, ``other``, ``apart``, the sum of what each
        row tells for itself, and ``together``. Independent coins make ``together`` at least ``apart``.
    """
    lines = []
    for place, (selectors, predictions) in enumerate(zip(one.selectors, one.predictions, strict=True)):
        rows, twos = information_of_rows(selectors, predictions, one.num_classes)
        lines += [
            {"supersample": place, "row": i, "other": k, "apart": rows[i] + rows[k], "together": together}
            for (i, k), together in zip(combinations(range(len(rows)), 2), twos, strict=True)
        ]
    return pd.DataFrame(lines)


def stability(counts: Sequence[int]) -> pd.DataFrame:
    """The mean of n fair labels as a predictor, loss ``|prediction - label|``: exact gaps beside the two bounds.

    Replacing one label moves the prediction by ``(y - y') / n`` everywhere, so that all three stabilities are
    ``1 / (2 n^2)`` when squared. Gaps are summed over the binomial law of the number of ones.
    """
    lines = []
    for n in counts:
        ones = torch.arange(n + 1, dtype=torch.float64)
        weights = (
            torch.lgamma(torch.tensor(n + 1.0, dtype=torch.float64))
            - torch.lgamma(ones + 1)
            - torch.lgamma(n - ones + 1)
            - n * np.log(2)
        ).exp()
        mean = ones / n
        gap = 0.5 - 2 * mean * (1 - mean)  # test loss 1/2, training loss 2 m (1 - m)
        beta = (1 / (2 * n**2)) ** 0.5
        lines.append(
            {
                "n": n,
                "expected gap": float((weights * gap).sum()),
                "bound": stability_bound(1, 1.0, beta),
                "expected squared gap": float((weights * gap.square()).sum()),
                "squared bound": squared_stability_bound(
                    n, 1, 1.0, stability=beta, test_stability=beta, train_stability=beta
                ),
            }
        )
    return pd.DataFrame(lines)


def toy(table: Table, name: str) -> pd.DataFrame:
    """The rows of one toy of ``generalization/toys``, without columns that it does not fill.

    Raises:
        NotRun: There are none.
    """
    return table.panel(name).dropna(axis=1, how="all").sort_values("parameter")
