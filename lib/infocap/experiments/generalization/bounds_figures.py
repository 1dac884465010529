"""The figures of book/generalization/tighter_bounds.ipynb.

Figure functions take a table and return a figure. Bands and bars are 95 % intervals of means over supersamples.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from infocap.bounds import generalization_gap
from infocap.experiments.generalization.results import (
    bounds,
    by_draws,
    langevin,
    runs,
    sizes,
    through_training,
    toy,
)
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, interval, summarize

__all__ = ["all_at_once", "bias", "draws", "label_noise", "langevin_dynamics", "three_classes"]

_GAP = PALETTE[0]
_STYLES = {
    "f-CMI": ("s-", PALETTE[3]),
    "e-CMI": ("v--", PALETTE[4]),
    "ld-CMI": ("^:", PALETTE[2]),
    "binary KL": ("D-", PALETTE[1]),
    "fast rate": ("P-.", PALETTE[5]),
    "KL and variation": ("X:", PALETTE[9]),
}


@styled
def all_at_once(table: Table, name: str = "hard", n: int | None = None) -> plt.Figure:
    """Every bound of the registry on the same predictions, smallest first; the dashed line is the measured gap."""
    rows = table.panel(name)
    n = sizes(table, name)[-1] if n is None else n
    one = runs(table, rows[rows["n"] == n])
    frame = bounds(one).dropna(subset="mean").sort_values("mean", ascending=False)
    gap = generalization_gap(one).numpy()
    figure, axes = plt.subplots(figsize=(WIDTH, 0.9 + 0.27 * len(frame)))
    low, high = interval(gap)
    axes.axvline(gap.mean(), color=_GAP, linestyle="--", label="gap")
    axes.axvspan(low, high, color=_GAP, alpha=0.15, linewidth=0)
    for place, row in enumerate(frame.to_dict("records")):
        colour, face = (PALETTE[3], PALETTE[3]) if row["certificate"] else ("0.4", "white")
        bar = ([np.nan_to_num(row["mean"] - row["low"])], [np.nan_to_num(row["high"] - row["mean"])])
        axes.errorbar(
            [row["mean"]], [place], xerr=bar, fmt="o", color=colour, markerfacecolor=face, capsize=3, markersize=5
        )
    axes.set_yticks(range(len(frame)), frame["name"])
    axes.set(xlabel="bound on the gap", xlim=(0, None))
    handles = [
        Line2D([], [], color=PALETTE[3], marker="o", linestyle="", label="certificate"),
        Line2D([], [], color="0.4", marker="o", markerfacecolor="white", linestyle="", label="needs the gap"),
        Line2D([], [], color=_GAP, linestyle="--", label="gap"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="small")
    note(figure, f"{table.profile} profile, n = {n}, {len(gap)} supersamples")
    return figure


@styled
def label_noise(table: Table) -> plt.Figure:
    """Errors (above) and bounds (below) along training with flipped labels."""
    n = sizes(table, "noise")[0]
    frame = through_training(table, "noise", n)
    shown = ["f-CMI", "binary KL", "fast rate", "KL and variation"]
    means = summarize(frame, ["epoch"], ["train_error", "test_error", "gap", *shown])
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5.6), sharex=True, height_ratios=(2, 3))
    for key, style, label in (("test_error", "o-", "test error"), ("train_error", "x--", "training error")):
        _line(above, means, key, style, "0.3", label)
    above.set(ylabel="0-1 loss", ylim=(0, None))
    above.legend(fontsize="small", ncols=2)
    for key in shown:
        _line(below, means, key, *_STYLES[key], key)
    _line(below, means, "gap", "o-", _GAP, "gap")
    below.set(ylabel="bound on the gap", xlabel="epoch", ylim=(0, None))
    below.legend(fontsize="small", ncols=2)
    note(figure, f"{table.profile} profile, n = {n}, {frame['seed'].nunique()} supersamples")
    return figure


@styled
def three_classes(table: Table) -> plt.Figure:
    """How much smaller the bounds from errors and from their difference are than f-CMI, with three classes."""
    n = sizes(table, "three")[0]
    frame = through_training(table, "three", n)
    for key in ("e-CMI", "ld-CMI"):
        frame[key] = frame[key] / frame["f-CMI"] - 1
    means = summarize(frame, ["epoch"], ["e-CMI", "ld-CMI", "train_error"])
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 4.6), sharex=True, height_ratios=(2, 3))
    _line(above, means, "train_error", "x--", "0.3", "training error")
    above.set(ylabel="training error", ylim=(0, None))
    for key in ("e-CMI", "ld-CMI"):
        mean = 100 * means[[key, f"{key}_low", f"{key}_high"]]
        below.plot(means["epoch"], mean[key], _STYLES[key][0], color=_STYLES[key][1], label=key, markersize=5)
        below.fill_between(means["epoch"], mean[f"{key}_low"], mean[f"{key}_high"], color=_STYLES[key][1], alpha=0.2)
    below.axhline(0, color=PALETTE[3], label="f-CMI")
    below.set(xlabel="epoch", ylabel="difference from f-CMI, %")
    below.legend(fontsize="small")
    note(figure, f"{table.profile} profile, n = {n}, {frame['seed'].nunique()} supersamples")
    return figure


@styled
def langevin_dynamics(table: Table) -> plt.Figure:
    """Langevin dynamics: errors (above), and gap, f-CMI bound and the bound of Negrea et al. (below, logarithmic)."""
    frame = langevin(table)
    means = summarize(frame, ["epoch"], ["train_error", "test_error", "gap", "f-CMI", "corrected", "negrea"])
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5.8), sharex=True, height_ratios=(2, 3))
    _line(above, means, "test_error", "o-", "0.3", "test error")
    _line(above, means, "train_error", "x--", "0.3", "training error")
    above.set(ylabel="0-1 loss", ylim=(0, None))
    above.legend(fontsize="small")
    _line(below, means, "negrea", "P-", PALETTE[1], "Negrea et al.")
    _line(below, means, "f-CMI", "s-", PALETTE[3], "f-CMI")
    _line(below, means, "corrected", "v:", PALETTE[4], "f-CMI, chance-corrected", band=False)
    _line(below, means, "gap", "o-", _GAP, "gap")
    below.set(xlabel="epoch", ylabel="bound on the gap", yscale="log", ylim=(0.0005, 2))
    below.legend(fontsize="small", ncols=2, loc="lower right")
    row = table.panel("sgld").iloc[0]
    note(figure, f"{table.profile} profile, n = {row['n']}, {frame['seed'].nunique()} supersamples")
    return figure


@styled
def draws(table: Table) -> plt.Figure:
    """The bound that fewer draws would have given, with and without corrections, and for unrelated selectors."""
    frame = by_draws(table)
    curves = [
        ("miller_madow", "X--", PALETTE[2], "Miller-Madow"),
        ("bound", "s-", PALETTE[3], "plug-in"),
        ("corrected", "v:", PALETTE[4], "chance-corrected"),
        ("independent", "o-.", "0.4", "plug-in, unrelated selectors"),
    ]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.7))
    means = frame.groupby("draws")[[key for key, *_ in curves]].mean()
    for key, style, colour, label in curves:
        axes.plot(means.index, means[key], style, color=colour, label=label, markersize=5)
    axes.set(xscale="log", xlabel="draws per supersample, $k_2$", ylabel="f-CMI bound", ylim=(0, None))
    axes.set_xticks(means.index, means.index)
    axes.minorticks_off()
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, n = {table.panel('draws')['n'].iloc[0]}, "
                 f"mean of {frame['seed'].nunique()} supersamples")  # fmt: skip
    return figure


@styled
def bias(table: Table) -> plt.Figure:
    """Exact expectations of estimates for two independent fair bits, where the truth is 0."""
    rows = toy(table, "bias")
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 4.8), sharex=True)
    for key, style, colour, label in (
        ("none", "s-", PALETTE[3], "plug-in"),
        ("miller_madow", "X--", PALETTE[2], "Miller-Madow"),
        ("chance", "v:", PALETTE[4], "chance-corrected"),
    ):
        above.plot(rows["parameter"], rows[f"{key}_unclipped"], style, color=colour, label=label, markersize=5)
        below.plot(rows["parameter"], rows[f"{key}_bound"], style, color=colour, markersize=5)
    above.set(ylabel="information, nats", xscale="log")
    below.set(ylabel=r"$\sqrt{2 I}$, clipped at 0", xlabel="draws", ylim=(0, None))
    below.set_xticks(rows["parameter"], rows["parameter"])
    below.minorticks_off()
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize="small")
    note(figure, f"{table.profile} profile; exact sums over all tables")
    return figure


def _line(
    axes: plt.Axes, means: pd.DataFrame, key: str, style: str, colour: Any, label: str, band: bool = True
) -> None:
    axes.plot(means["epoch"], means[key], style, color=colour, label=label, markersize=4)
    if band:
        low = means[f"{key}_low"].clip(lower=1e-4)
        axes.fill_between(means["epoch"], low, means[f"{key}_high"], color=colour, alpha=0.15)
