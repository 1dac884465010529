"""What do the tables of part 2 say? Selections and reductions of their rows that chapters, claims and figures share."""

import numpy as np
import pandas as pd
from scipy import stats

from infocap.experiments.sample_information import toys
from infocap.experiments.sample_information.methods import METHODS
from infocap.experiments.sample_information.tasks import task_name
from infocap.study.tables import Table, interval, value_text

__all__ = [
    "TARGETS", "agreement", "areas", "areas_by_task", "beside_the_paper", "best_influence", "bound", "by_width",
    "last_step", "not_run", "panel", "peers", "rows_of", "runs", "toy",
]  # fmt: skip

TARGETS = ("weights", "predictions")

# Pearson correlations of Table 1 of the paper's review submission, n = 1,000, one run per cell:
# panel, weight decay, target, the paper's linearization and its influence functions.
_PAPER_TABLE = pd.DataFrame(
    [
        ("mlp", 0.0, "weights", 0.987, 0.935),
        ("mlp", 1.0, "weights", 0.977, 0.978),
        ("mlp", 0.0, "predictions", 0.993, 0.920),
        ("mlp", 1.0, "predictions", 0.993, 0.990),
        ("cnn", 0.0, "weights", 0.193, 0.319),
        ("cnn", 0.0, "predictions", 0.033, 0.647),
        ("cnn_pretrained", 0.0, "weights", 0.870, 0.736),
        ("cnn_pretrained", 0.0, "predictions", 0.875, 0.770),
    ],
    columns=["panel", "weight_decay", "target", "paper_linearized", "paper_influence"],
)

_ATTACKED = {
    "auc_loss": "loss, trained",
    "auc_f_si_trained": "F-SI, linearized at trained weights",
    "auc_f_si_initial": "F-SI, linearized at initial weights",
}

_PAPER_ONLY = [  # experiment, task, data, the data's name in a sentence
    ("clean, mislabelled", "cats against dogs", "folder:cats-dogs", "the images"),
    ("clean, mislabelled", "iCassava", "folder:icassava", "the images"),
    ("sources", "SVHN beside MNIST", "svhn", "SVHN"),
    ("subclass", "pets against deer", "cifar10", "CIFAR-10"),
]


def panel(table: Table, name: str) -> pd.DataFrame:
    """The rows of one panel of ``sample_information/retraining`` with their width; raises as ``Table.panel``."""
    rows = table.panel(name)
    return rows.assign(width=[max(widths, default=0) for widths in rows["widths"]])


def agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """Correlations with real retraining, one row per run, target and method.

    Args:
        rows: Of ``sample_information/retraining``.

    Returns:
        ``panel``, ``width``, ``weight_decay``, ``seed``, ``target`` (weights or predictions), ``method``, ``pearson``
        and ``spearman``. A constant score has no correlation: NaN.
    """
    lines = []
    for row in rows.to_dict("records"):
        shared = {name: row[name] for name in ("panel", "weight_decay", "seed")}
        shared["width"] = max(row["widths"], default=0)
        for target in TARGETS:
            real = row[f"real_{target}"]
            for method, values in row[target].items():
                constant = np.ptp(values) == 0
                lines.append(
                    shared
                    | {
                        "target": target,
                        "method": method,
                        "pearson": np.nan if constant else float(np.corrcoef(values, real)[0, 1]),
                        "spearman": np.nan if constant else float(stats.spearmanr(values, real).statistic),
                    }
                )
    return pd.DataFrame(lines)


def best_influence(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the dampings of influence functions, the one that agrees best with retraining, chosen anew for every run.

    The choice looks at the answer, which favours influence functions: an advantage that no user has.
    """
    influence = rows[rows["method"].str.startswith("influence")]
    return influence.groupby(["panel", "width", "weight_decay", "seed", "target"], as_index=False)["pearson"].max()


def beside_the_paper(table: Table) -> pd.DataFrame:
    """Pearson correlations of the paper's Table 1 beside those of this profile, one line per network and target.

    Where a profile does not hold the weight decay of the paper's line, or has not run it, there is a dash.
    """
    names = {"mlp": "fully connected", "cnn": "convolutional", "cnn_pretrained": "convolutional, pretrained"}
    ours = pd.concat([agreement(panel(table, name)) for name in names])
    best = best_influence(ours)
    linear = ours[ours["method"] == "linearized"]
    lines = []
    for row in _PAPER_TABLE.to_dict("records"):
        mine, influence = (
            part[
                (
                    part[["panel", "weight_decay", "target"]] == [row[k] for k in ("panel", "weight_decay", "target")]
                ).all(axis=1)
            ]
            for part in (linear, best)
        )
        lines.append(
            {
                "network": names[row["panel"]],
                "weight decay": row["weight_decay"],
                "target": row["target"],
                "closed form, paper": row["paper_linearized"],
                "closed form, here": mine["pearson"].mean(),
                "rank, here": mine["spearman"].mean(),
                "influence, paper": row["paper_influence"],
                "influence, here": influence["pearson"].mean(),
            }
        )
    return pd.DataFrame(lines)


def peers(table: Table) -> pd.DataFrame:
    """The stored table of tests/bench/peers: one line per package and method, means over seeds with half intervals."""
    rows = table.frame
    return pd.DataFrame(
        [
            {
                "package": f"{package} {version}",
                "method": method,
                "needs": part["needs"].iloc[0],
                "Pearson": value_text(part["pearson"]),
                "Spearman": value_text(part["spearman"]),
                "seconds": value_text(part["seconds"], 2),
            }
            for (package, version, method), part in rows.groupby(["package", "version", "method"], sort=False)
        ]
    )


def toy(table: Table, name: str) -> pd.DataFrame:
    """The rows of one toy of ``sample_information/toys``, without columns that it does not fill.

    Raises:
        NotRun: There are none.
    """
    return table.panel(name).dropna(axis=1, how="all")


def bound(table: Table) -> pd.DataFrame:
    """One row per sigma: means over training sets of errors, gap and information, and the bound on the gap.

    The bound is ``sqrt(2 (1/4) mean SI)``: a loss between 0 and 1 is 1/2-sub-Gaussian.
    """
    rows = toy(table, "bound")
    lines = []
    for place, sigma in enumerate(toys.SIGMAS):
        train, test, information = (
            np.array([values[place] for values in rows[name]])
            for name in ("train_error", "test_error", "mean_information")
        )
        low, high = interval(test - train)
        lines.append(
            {
                "sigma": sigma,
                "train_error": train.mean(),
                "test_error": test.mean(),
                "gap": (test - train).mean(),
                "gap_low": low,
                "gap_high": high,
                "information": information.mean(),
                "bound": np.sqrt(information.mean() / 2),
                "runs": len(rows),
            }
        )
    return pd.DataFrame(lines)


def runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of ``sample_information/dynamics`` at the usual learning rate, which comes first; narrow networks first."""
    usual = rows["learning_rate"] == rows["learning_rate"].iloc[0]
    return rows[usual].sort_values(["width", "seed"])


def last_step(table: Table) -> pd.DataFrame:
    """What ``by_width`` needs of each run."""
    rows = runs(table.frame)
    columns = ["width", "seed", "learning_rate", "prediction_error", "relative_move", "test_accuracy"]
    return rows.assign(prediction_error=[values[-1:] for values in rows["prediction_error"]])[columns]


def by_width(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per width: means over seeds at the last step, and the interval of the prediction error."""
    lines = []
    for width, group in runs(rows).groupby("width"):
        error = [values[-1] for values in group["prediction_error"]]
        low, high = interval(error)
        spread = "–" if np.isnan(low) else f"{max(low, 0):.3f} to {high:.3f}"
        lines.append(
            {
                "width": width,
                "prediction error": np.mean(error),
                "95 % interval": spread,
                "relative move of the weights": group["relative_move"].mean(),
                "test accuracy": group["test_accuracy"].mean(),
                "runs": len(group),
            }
        )
    return pd.DataFrame(lines)


def rows_of(table: Table, experiment: str) -> pd.DataFrame:
    """What a table holds of one experiment of ``sample_information/detection``, whole or not.

    Only columns that the experiment fills, and each row's ``task``; the index says where its arrays are.
    """
    rows = table.frame[table.frame["experiment"] == experiment].dropna(axis=1, how="all")
    return rows.assign(task=[task_name(row) for row in rows.to_dict("records")])


def areas(*parts: pd.DataFrame) -> pd.DataFrame:
    """Areas under the ROC curve, one row per run and score.

    Args:
        parts: Rows of ``sample_information/detection``, the book's or a reader's own.

    Returns:
        ``task``, ``seed``, ``score`` (the name of its method) and ``area``.
    """
    names = {f"auc_{METHODS[name].__name__}": name for name in METHODS} | _ATTACKED
    rows = pd.concat(parts, ignore_index=True)
    rows["task"] = [task_name(row) for row in rows.to_dict("records")]
    columns = [column for column in rows if column.startswith("auc_")]
    long = rows.melt(["task", "seed"], columns, "score", "area").dropna()
    return long.assign(score=[names.get(column, column.removeprefix("auc_")) for column in long["score"]])


def areas_by_task(*parts: pd.DataFrame) -> pd.DataFrame:
    """The same as a table: means over seeds with half intervals, a line for each score, the best mean first."""
    long = areas(*parts)
    order = long.groupby("score")["area"].mean().sort_values(ascending=False).index
    cells = long.groupby(["score", "task"], sort=False)["area"].agg(value_text).unstack(sort=False)
    return cells.loc[order].rename_axis(columns=None).reset_index()


def not_run(table: Table) -> list[dict[str, str]]:
    """The paper's applications that the table does not hold: ``experiment``, ``task``, ``status`` and ``reason``."""
    held = set(zip(table.frame["experiment"], table.frame["data"], strict=True))
    return [
        {
            "experiment": experiment,
            "task": task,
            "status": "not run",
            "reason": f"{images} and a pretrained ResNet-18 are not in the box",
        }
        for experiment, task, name, images in _PAPER_ONLY
        if not any((part, name) in held for part in experiment.split(", "))
    ]
