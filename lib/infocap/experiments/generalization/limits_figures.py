"""The figures of book/generalization/limits.ipynb, from the table ``generalization/toys``."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator

from infocap.counterexample import pair_bound, pair_information_uniform
from infocap.experiments.generalization.results import toy
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, interval

__all__ = ["against_n", "gaps", "predictions"]

_GAP, _SINGLE, _PAIR, _FULL = PALETTE[0], PALETTE[7], PALETTE[3], PALETTE[1]


@styled
def against_n(table: Table) -> plt.Figure:
    """The squared gap and what bounds it, or would, from single examples, from pairs and from all, against n."""
    rows = toy(table, "counterexample")
    rows = rows[~rows["coin"].astype(bool)]
    ns = np.unique(np.geomspace(5, 100, 30).round().astype(int))
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    axes.plot(ns, [pair_bound(n, pair_information_uniform(n, n)) for n in ns], color=_PAIR, label="pairs, closed form")
    axes.plot(rows["parameter"], rows["pair_bound"], "s", color=_PAIR, label="pairs, enumerated")
    axes.plot(rows["parameter"], rows["full_bound"], "D", color=_FULL, label="whole training set")
    axes.plot([2, 100], [0.25, 0.25], "-", color=_GAP, label="mean squared gap")
    axes.plot(rows["parameter"], rows["mean_squared_gap"], "o", color=_GAP)
    axes.plot([2, 100], [0, 0], ":", color=_SINGLE)
    axes.plot(rows["parameter"], rows["single_information"], "v", color=_SINGLE, label="single examples (fails)")
    axes.plot(ns, 1 / ns, "--", color="0.6", linewidth=1, label="$1/n$")
    axes.set(xscale="log", xlabel="n, training examples", ylabel="bound on the squared gap", ylim=(-0.06, 1.6))
    axes.set_xticks([2, 3, 4, 5, 10, 20, 50, 100], [2, 3, 4, 5, 10, 20, 50, 100])
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile; enumeration up to n = {rows['parameter'].max()}")
    return figure


@styled
def gaps(table: Table) -> plt.Figure:
    """The law of the gap at the largest n that is enumerated: of one hypothesis, and of the mean over the coin."""
    rows = toy(table, "counterexample")
    rows = rows[rows["parameter"] == rows["parameter"].max()].set_index("coin")
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2.9), sharey=True)
    row = rows.loc[False]
    for axes, title in ((left, "labels decide"), (right, "a coin decides")):
        axes.bar(row["gap_values"], row["gap_probabilities"], width=0.12, color=_GAP, label="each hypothesis")
        axes.set(title=title, xlabel="gap", xlim=(-0.75, 0.75), xticks=(-0.5, 0, 0.5), ylim=(0, 1.08))
    spread = np.sqrt(rows.loc[True, "mean_squared_posterior_gap"])
    right.bar([spread], [1.0], width=0.12, facecolor="none", edgecolor=_PAIR, linewidth=1.5, label="mean over the coin")
    left.set_ylabel("probability")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, n = {row['parameter']}: {int(row['samples']):,} training sets, all of them")
    return figure


@styled
def predictions(table: Table) -> plt.Figure:
    """The algorithm on random supersamples: squared gap, bound from pairs of predictions, and its first term alone."""
    rows = toy(table, "pairs")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    for key, style, colour, label in (
        ("pair_bound", "s-", _PAIR, "bound from pairs of rows"), ("squared_gap", "o-", _GAP, "squared gap")
    ):  # fmt: skip
        values = rows[key].tolist()
        axes.plot(rows["parameter"], [np.mean(value) for value in values], style, color=colour, label=label)
        low, high = np.transpose([interval(value) for value in values])
        axes.fill_between(rows["parameter"], low, high, color=colour, alpha=0.2)
    axes.plot(rows["parameter"], 2.5 / rows["parameter"], "--", color="0.5", label="its first term, $5 / (2n)$")
    axes.set(xlabel="n, training examples", ylabel="squared gap", ylim=(0, None), xticks=rows["parameter"])
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, {len(rows['single'].iloc[0])} supersamples, all selectors")
    return figure
