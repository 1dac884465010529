"""What the chapter on memorization draws and says: the exact toys, and real networks along training.

Every figure function takes a table or ``histories`` and returns a figure; the functions that return text or a frame
give the numbers that the prose prints. Information is in nats per training label.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from infocap import data
from infocap.experiments.noisy_labels.results import panel
from infocap.information import memorized_information, minimum_error_rate
from infocap.study import style
from infocap.study.tables import Table, summarize

__all__ = [
    "at_the_end",
    "comparison",
    "gap_bound",
    "histories",
    "learning_curves",
    "memorized",
    "minimum_errors",
    "protocol",
    "stored_labels",
    "toy_errors",
]

PLAIN = "cross-entropy"


def protocol(profile: Any) -> str:
    """One sentence: what was trained in the panel ``memorization``."""
    p = profile.noisy_labels.memorization
    sizes, rates = (" and ".join(f"{value:,}" for value in values) for values in (p.sizes, p.rates))
    layers = f" with hidden layers of {', '.join(map(str, p.widths))}" if p.widths else ""
    return (
        f"Profile `{profile.name}`: {sizes} images of {p.data}, {p.noise} noise at rate {rates}, "
        f"a network of type `{p.network}`{layers}, {p.epochs} epochs of Adam with batches of {p.batch_size}, "
        f"{len(p.methods)} methods, {_times(len(p.seeds))} each, tested on {p.test_size:,} clean images."
    )


def histories(training: Table) -> pd.DataFrame:
    """The panel ``memorization`` along training: one row per run and measured epoch.

    Beside the measured curves there are two estimates of the memorized information, in nats per label: ``by_errors``
    from the training error (Fano, inverted), ``by_loss`` from the cross-entropy, clipped at 0. ``ignorant_error`` is
    the least error rate of a learner that stores nothing.
    """
    parts = []
    for run in panel(training, "memorization").to_dict("records"):
        part = pd.DataFrame(run.pop("history"))
        classes = len(data.class_names(run["data"]))
        entropy = run["noise_entropy"]
        part["by_errors"] = memorized_information(entropy, part["train_error"].tolist(), classes).numpy()
        part["ignorant_error"] = float(minimum_error_rate(entropy, 0.0, classes))
        part["by_loss"] = (entropy - part["train_loss"]).clip(lower=0)
        fields = ("label", "method", "beta", "dropout", "weight_decay", "data_seed", "noise_entropy")
        parts.append(part.assign(**{name: run[name] for name in fields}))
    return pd.concat(parts, ignore_index=True)


def at_the_end(history: pd.DataFrame) -> pd.DataFrame:
    """The last epoch, means over runs: one row per method."""
    last = history[history["epoch"] == history["epoch"].max()]
    columns = {
        "train_error": "training error",
        "by_errors": "nats by errors",
        "by_loss": "nats by loss",
        "test_accuracy": "test accuracy",
    }
    means = summarize(last, ["label"], list(columns))
    return means[["label", *columns, "runs"]].rename(columns=columns | {"label": "method"})


def comparison(history: pd.DataFrame) -> pd.DataFrame:
    """The paper's message for this panel, statement by statement, against the last epoch.

    The best run of a family is the one with the smallest estimate from the training error.
    """
    history = history.assign(family=_family(history), share=history["by_errors"] / history["noise_entropy"])
    curves = history.groupby(["family", "label", "epoch"], sort=False)[["share", "test_accuracy"]].mean().reset_index()
    end = curves[curves["epoch"] == curves["epoch"].max()].sort_values("share").groupby("family").first()
    share = end["share"]
    rows = []
    if PLAIN in end.index:
        measured = f"at least {_percent(share[PLAIN])}"
        rows.append(("Cross-entropy stores 90 % of the noise.", measured, share[PLAIN] >= 0.9))
    if "LIMIT" in end.index:
        for family in (name for name in ("dropout", "weight decay") if name in end.index):
            measured = f"at least {_percent(share[family])} against {_percent(share['LIMIT'])}"
            statement = f"The best {family} stores more than the best LIMIT."
            rows.append((statement, measured, share[family] > share["LIMIT"]))
        best = curves[curves["label"] == end["label"]["LIMIT"]]["test_accuracy"]
        measured = f"{best.iloc[-1]:.2f} at the end, {best.max():.2f} at its best"
        statement = "The best LIMIT ends within 5 points of its highest test accuracy."
        rows.append((statement, measured, best.iloc[-1] >= best.max() - 0.05))
    rows = [(statement, measured, "yes" if holds else "no") for statement, measured, holds in rows]
    return pd.DataFrame(rows, columns=["statement", "measured", "holds here"])


@style.styled
def stored_labels(toys: Table) -> plt.Figure:
    """Weights that hold m labels: expected training errors and the Fano bound."""
    rows = toys.frame[toys.frame["toy"] == "store_m_labels"]
    figure, axes = plt.subplots(figsize=(4.8, 3.6))
    axes.plot(rows["parameter"], rows["fano_errors"], color=style.PALETTE[1], label="Fano bound")
    axes.plot(rows["parameter"], rows["expected_errors"], "o", color=style.PALETTE[0], label="errors of the learner")
    axes.set(xlabel="stored labels $m$", ylabel=f"expected training errors, of {rows['num_labels'].iloc[0]:.0f}")
    axes.set_xticks(rows["parameter"])
    axes.legend()
    style.note(figure, _exact(toys))
    return figure


@style.styled
def toy_errors(toys: Table) -> plt.Figure:
    """Randomized channel and Gibbs learner: exact error rates above both forms of the bound."""
    titles = {
        "channel": "Noisy copy: 1 label, 10 classes, noise rate 0.8",
        "gibbs": "Gibbs learner: 4 labels, 3 classes, noise rate 0.5",
    }
    figure, panels = plt.subplots(2, 1, figsize=(4.8, 6.4))
    for axes, (toy, title) in zip(panels, titles.items(), strict=True):
        rows = toys.frame[toys.frame["toy"] == toy].sort_values("information")
        information = rows["information"] / rows["num_labels"]
        errors, fano = (rows[name] / rows["num_labels"] for name in ("expected_errors", "fano_errors"))
        axes.plot(information, errors, "o-", color=style.PALETTE[0], label="errors of the learner")
        axes.plot(information, rows["minimum_error_rate"], "s--", color=style.PALETTE[1], label="bound $r_0$")
        axes.plot(information, fano, "^:", color=style.PALETTE[2], label="bound of the theorem")
        axes.axhline(0, color="0.6", linewidth=1)
        axes.set(title=title, ylabel="training error rate")
    panels[0].legend()
    panels[1].set_xlabel("memorized information [nats per label]")
    figure.get_layout_engine().set(hspace=0.06)
    style.note(figure, _exact(toys))
    return figure


@style.styled
def minimum_errors(toys: Table) -> plt.Figure:
    """The smallest training error rate against memorized information, one curve per noise rate."""
    rows = toys.frame[toys.frame["toy"] == "minimum_error_rate"]
    figure, axes = plt.subplots(figsize=(4.8, 4.2))
    for row, marker in zip(rows.to_dict("records")[::-1], "o^sDv<>", strict=False):
        label = f"noise rate $p = {row['parameter']:g}$"
        axes.plot(row["information"], row["error_rate"], marker=marker, markevery=10, clip_on=False, label=label)
    axes.legend()
    axes.set(xlabel="memorized information $I/n$ [nats per label]", ylabel="smallest training error rate $r_0$")
    axes.set(xlim=(0, None), ylim=(0, None))
    style.note(figure, "10 classes, uniform noise; " + _exact(toys))
    return figure


@style.styled
def gap_bound(toys: Table) -> plt.Figure:
    """Gibbs learner: generalization gap and its bound against what the weights store."""
    rows = toys.frame[toys.frame["toy"] == "gibbs"].sort_values("information")
    figure, axes = plt.subplots(figsize=(4.8, 4))
    axes.plot(rows["information"], rows["gap_bound"], "s--", color=style.PALETTE[1], label="bound")
    axes.plot(rows["information"], rows["gap"], "o-", color=style.PALETTE[0], label="exact gap")
    for row in rows.to_dict("records"):
        place = (row["information"], row["gap"])
        text = rf"$\tau = {row['parameter']:g}$"
        axes.annotate(text, place, (4, -14), textcoords="offset points", fontsize="small")
    axes.set(xlabel="memorized information $I$ [nats, 4 labels]", ylabel="test minus training error rate")
    axes.set(xlim=(-0.1, 1.15 * rows["information"].max()), ylim=(-0.06, None))
    axes.legend(loc="upper left")
    style.note(figure, _exact(toys))
    return figure


@style.styled
def learning_curves(history: pd.DataFrame, profile: str) -> plt.Figure:
    """Training error on noisy labels and accuracy on clean test labels, along training."""
    figure, panels = plt.subplots(2, 1, figsize=(4.8, 7.6), sharex=True)
    _draw(panels[0], history, "train_error")
    _level(panels[0], history["ignorant_error"].mean(), "least error if nothing is stored")
    _draw(panels[1], history, "test_accuracy")
    panels[0].set(ylabel="training error, noisy labels", ylim=(-0.03, 1.03))
    panels[1].set(ylabel="test accuracy, clean labels", ylim=(-0.03, 1.03))
    _finish(figure, history, profile)
    return figure


@style.styled
def memorized(history: pd.DataFrame, profile: str) -> plt.Figure:
    """Memorized information along training, read off the training error and off the loss."""
    figure, panels = plt.subplots(2, 1, figsize=(4.8, 7.6), sharex=True, sharey=True)
    entropy = history["noise_entropy"].mean()
    titles = {"by_errors": "read off the training error", "by_loss": "read off the loss, clipped at 0"}
    for axes, (value, title) in zip(panels, titles.items(), strict=True):
        _draw(axes, history, value)
        _level(axes, entropy, "all label noise")
        axes.set(title=title, ylabel="memorized, at least [nats per label]")
        axes.set(ylim=(-0.03 * entropy, 1.12 * entropy))
    _finish(figure, history, profile)
    return figure


def _draw(axes: plt.Axes, history: pd.DataFrame, value: str) -> None:
    """One curve per method: the mean over runs, with a band if there are several."""
    means = summarize(history, ["label", "epoch"], [value])
    for label, look in _looks(history).items():
        curve = means[means["label"] == label]
        axes.plot(curve["epoch"], curve[value], label=label, **look)
        axes.fill_between(curve["epoch"], curve[f"{value}_low"], curve[f"{value}_high"], color=look["color"], alpha=0.2)


def _looks(history: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Colour, line and marker per method: one hue and one line for each family, darker for a larger setting."""
    hues = {
        PLAIN: ("#222222", "-", ""),
        "dropout": (style.PALETTE[3], "--", ""),
        "weight decay": (style.PALETTE[4], ":", ""),
        "LIMIT": (style.PALETTE[0], "-", "o"),
    }
    looks = {}
    for family, rows in history.groupby(_family(history), sort=False):
        hue, line, marker = hues[family]
        labels = rows["label"].unique()
        shades = sns.light_palette(hue, len(labels) + 2)[2:] if len(labels) > 1 else [hue]
        for label, shade in zip(labels, shades, strict=True):
            looks[label] = {"color": shade, "linestyle": line, "marker": marker, "markersize": 5}
            looks[label]["linewidth"] = 2.2 if line == ":" else 1.5
    return looks


def _family(history: pd.DataFrame) -> np.ndarray:
    limit = history["method"].str.startswith("limit")
    return np.select(
        [limit, history["dropout"] > 0, history["weight_decay"] > 0], ["LIMIT", "dropout", "weight decay"], PLAIN
    )


def _level(axes: plt.Axes, height: float, text: str) -> None:
    axes.axhline(height, color="0.45", linewidth=1, linestyle=(0, (6, 3)), zorder=1)
    axes.annotate(text, (1, height), (-4, 4), xycoords=("axes fraction", "data"), textcoords="offset points",
                  ha="right", color="0.3", fontsize="small")  # fmt: skip


def _finish(figure: plt.Figure, history: pd.DataFrame, profile: str) -> None:
    figure.get_layout_engine().set(hspace=0.06)
    axes = figure.axes[-1]
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize="small")
    runs = history["data_seed"].nunique()
    band = "one run per curve, so no band" if runs == 1 else f"mean and 95 % t interval of {runs} runs"
    style.note(figure, f"profile {profile}; {band}")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _times(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _exact(toys: Table) -> str:
    return f"profile {toys.profile}; exact, no sampling error"
