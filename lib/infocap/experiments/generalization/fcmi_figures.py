"""The figures of book/generalization/fcmi.ipynb.

Figure functions take a table and return a figure. Bands and bars are 95 % intervals of means over supersamples.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from infocap.experiments.generalization.results import PAPER_MEANS, by_size, sizes, through_training, toy
from infocap.study.claims import NotRun
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, interval, summarize

__all__ = ["by_training_size", "epochs", "pairs_of_classes", "thresholds"]

_GAP, _BOUND = PALETTE[0], PALETTE[3]


@styled
def thresholds(table: Table) -> plt.Figure:
    """Gap and bounds of the learner of thresholds against n, means over supersamples."""
    rows = toy(table, "thresholds")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    curves = [
        ("vc", "VC bound", "P-", PALETTE[7]),
        ("whole", "f-CMI, all rows together", "s--", PALETTE[1]),
        ("weights", "CMI, single rows", "D:", PALETTE[4]),
        ("single", "f-CMI, single rows", "o-", _BOUND),
        ("gap", "expected gap", "^-", _GAP),
    ]
    for key, label, style, colour in curves:
        values = [np.atleast_1d(value) for value in rows[key]]
        axes.plot(rows["parameter"], [value.mean() for value in values], style, color=colour, label=label, markersize=5)
        if key != "vc":
            low, high = np.transpose([interval(value) for value in values])
            axes.fill_between(rows["parameter"], low, high, color=colour, alpha=0.2)
    axes.set(xlabel="n, training examples", ylabel="0-1 loss", ylim=(0, None), xticks=rows["parameter"])
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, {len(rows['gap'].iloc[0])} supersamples, all selectors")
    return figure


@styled
def by_training_size(table: Table, full: Table) -> plt.Figure:
    """Gap and f-CMI bound of the paper's network on MNIST 4 against 9, beside the paper's means and a stored run."""
    paper = PAPER_MEANS[PAPER_MEANS["panel"] == "paper"]
    stored = full.frame[full.frame["panel"] == "paper"]
    shown = [
        (table.profile, 1.0, by_size(table, "paper"), {}),
        ("full, stored", 1.12, stored, {"markerfacecolor": "white", "markersize": 6}),
    ]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9))
    for key, colour, marker in (("bound", _BOUND, "s"), ("gap", _GAP, "o")):
        axes.plot(paper["n"], paper[key], ":", color=colour, marker="_", markersize=14)
        for _, shift, rows, look in shown:
            means = summarize(rows, ["n"], ["gap", "bound"])
            _bars(axes, means.assign(n=means["n"] * shift), key, colour, marker, **look)
    _log_sizes(axes, paper["n"].tolist())
    axes.set(ylabel="0-1 loss", yscale="log", ylim=(0.004, 0.7))
    axes.set_yticks([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5], ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5"])
    axes.yaxis.set_minor_locator(NullLocator())
    grey = {"color": "0.4", "linestyle": ""}
    handles = [
        *(_mark(colour, marker, label) for colour, marker, label in _QUANTITIES),
        Line2D([], [], color="0.4", linestyle=":", marker="_", markersize=12, label="the paper's means"),
        *(Line2D([], [], marker="o", label=name, **grey, **look) for name, _, _, look in shown),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="small")
    lines = []
    for name, _, rows, _ in shown:
        counts = " and ".join(f"{count} (n = {n:,})" for n, count in rows.groupby("n").size().items())
        lines.append(f"{name}, supersamples: {counts}")
    note(figure, "\n".join(lines))
    return figure


@styled
def pairs_of_classes(table: Table) -> plt.Figure:
    """Gap and f-CMI bound on Fashion-MNIST against n: an easy and a hard pair, a wide and a random learner."""
    titles = {
        "easy": "sneakers, boots",
        "hard": "pullovers, coats",
        "wide": "4 times as wide",
        "randomized": "randomized",
    }
    shown = {}
    for name in titles:
        try:
            shown[name] = summarize(by_size(table, name), ["n"], ["gap", "bound"])
        except NotRun:
            continue
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 5.0), sharex=True, sharey=True)
    for axes, (name, title) in zip(grid.flat, titles.items(), strict=True):
        axes.set_title(title)
        if name not in shown:
            axes.text(0.5, 0.5, "not run in this profile", transform=axes.transAxes, ha="center", fontsize="small")
            continue
        for key, colour, marker in (("bound", _BOUND, "s"), ("gap", _GAP, "o")):
            axes.plot(shown[name]["n"], shown[name][key], color=colour)
            _bars(axes, shown[name], key, colour, marker)
    every = sorted({n for means in shown.values() for n in means["n"]})
    for axes in grid[1]:
        _log_sizes(axes, every)
    for axes in grid[:, 0]:
        axes.set(ylabel="0-1 loss", ylim=(0, None))
    figure.legend(
        handles=[_mark(*quantity) for quantity in _QUANTITIES], loc="outside upper center", ncols=2, fontsize="small"
    )
    note(figure, f"{table.profile} profile; bars: 95 % intervals over supersamples")
    return figure


@styled
def epochs(table: Table) -> plt.Figure:
    """Gap and f-CMI bound of the paper's network along training, one panel per n."""
    every = sizes(table, "paper")
    figure, grid = plt.subplots(len(every), 1, figsize=(WIDTH, 0.9 + 2.2 * len(every)), sharex=True, squeeze=False)
    for axes, n in zip(grid[:, 0], every, strict=True):
        frame = through_training(table, "paper", n)
        means = summarize(frame, ["epoch"], ["gap", "f-CMI", "corrected", "train_error"])
        for key, style, colour in (
            ("f-CMI", "s-", _BOUND), ("corrected", "v:", PALETTE[1]), ("gap", "o-", _GAP), ("train_error", "x--", "0.4")
        ):  # fmt: skip
            axes.plot(means["epoch"], means[key], style, color=colour, markersize=4)
            if key != "corrected":
                low = means[f"{key}_low"].clip(lower=0)
                axes.fill_between(means["epoch"], low, means[f"{key}_high"], color=colour, alpha=0.15)
        axes.set(title=f"n = {n}, {frame['seed'].nunique()} supersamples", ylabel="0-1 loss", ylim=(-0.01, None))
    grid[-1, 0].set_xlabel("epoch")
    handles = [
        *(_mark(*quantity) for quantity in _QUANTITIES),
        Line2D([], [], color=PALETTE[1], linestyle=":", marker="v", label="bound, chance-corrected"),
        Line2D([], [], color="0.4", linestyle="--", marker="x", label="training error"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile; bands: 95 % intervals over supersamples")
    return figure


_QUANTITIES = ((_BOUND, "s", "f-CMI bound"), (_GAP, "o", "gap"))


def _mark(colour: Any, marker: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, label=label)


def _bars(axes: plt.Axes, means: pd.DataFrame, key: str, colour: Any, marker: str, **look: Any) -> None:
    """Means with intervals, cut off at zero; one run has a dot only."""
    low = np.nan_to_num(np.minimum(means[key] - means[f"{key}_low"], means[key].clip(lower=0)))
    high = np.nan_to_num(means[f"{key}_high"] - means[key])
    axes.errorbar(means["n"], means[key], (low, high), fmt=marker, color=colour, capsize=3, **{"markersize": 5} | look)


def _log_sizes(axes: plt.Axes, values: list[int]) -> None:
    axes.set(xscale="log", xlabel="n, training examples", xlim=(values[0] / 1.4, values[-1] * 1.4))
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
