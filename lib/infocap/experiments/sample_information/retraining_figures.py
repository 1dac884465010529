"""The figures of book/sample_information/unique_information.ipynb on agreement with retraining and on bounds.

Every function takes a table or rows of ``infocap.experiments.sample_information.results`` and the profile's name.

Conventions: sigma is 1 unless an axis says otherwise, so that information is half a squared shift, in nats.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from infocap.experiments.sample_information.results import best_influence
from infocap.study.style import PALETTE, note, styled
from infocap.study.tables import interval

__all__ = ["bounds", "by_width", "methods", "scatter", "steady_state"]

WIDTH = 4.8  # inches; on a phone a figure shrinks to about three quarters of that

MARKERS = ("o", "s", "D", "v", "^", "P")


@styled
def scatter(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """F-SI in closed form against F-SI by real retraining, for the narrowest and the widest network."""
    widths = sorted({rows["width"].min(), rows["width"].max()})
    figure, axes = plt.subplots(1, len(widths), figsize=(WIDTH, 2.9), sharex=True, sharey=True, squeeze=False)
    for axis, width in zip(axes[0], widths, strict=True):
        part = rows[rows["width"] == width].sort_values("seed")
        for place, row in enumerate(part.to_dict("records")):
            axis.scatter(
                row["predictions"]["linearized"], row["real_predictions"], s=22, alpha=0.7,
                marker=MARKERS[place % len(MARKERS)], color=PALETTE[place], label=f"seed {row['seed']}",
            )  # fmt: skip
        axis.set(xscale="log", yscale="log", title=f"width {width}", xlabel="closed form (nats)")
        axis.set_box_aspect(1)
    low, high = axes[0, 0].get_xlim()
    for axis in axes[0]:
        axis.plot([low, high], [low, high], color="#555555", linewidth=1, zorder=0)
    axes[0, 0].set_ylabel("real retraining (nats)")
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=len(handles[0]), fontsize="small", handletextpad=0.1)
    left_out = len(rows["real_predictions"].iloc[0])
    note(figure, f"{profile} profile, {left_out} left-out examples per seed; the line is equality")
    return figure


@styled
def by_width(table: pd.DataFrame, profile: str) -> plt.Figure:
    """Pearson's correlation of predictions with retraining against width; rows from ``results.agreement``."""
    rows = table[table["target"] == "predictions"]
    lines = [
        ("closed form at the horizon", rows[rows["method"] == "linearized"], PALETTE[0], "o", "-"),
        ("best influence function", best_influence(rows), PALETTE[1], "s", "--"),
        ("closed form, trained to the end", rows[rows["method"] == "linearized, to the end"], PALETTE[3], "v", ":"),
    ]
    figure, axis = plt.subplots(figsize=(WIDTH, 3.1))
    for place, (name, part, colour, marker, dashes) in enumerate(lines):
        widths, means, lows, highs = [], [], [], []
        for width, group in part.groupby("width"):
            mean, (low, high) = group["pearson"].mean(), interval(group["pearson"])
            widths.append(width * 1.05 ** (place - 1))
            means.append(mean)
            lows.append(0 if np.isnan(low) else mean - max(low, -1))
            highs.append(0 if np.isnan(high) else min(high, 1) - mean)
        axis.errorbar(
            widths, means, [lows, highs], color=colour, marker=marker, linestyle=dashes, label=name, capsize=2
        )
    ticks = sorted(rows["width"].unique())
    axis.set_xscale("log")
    axis.set_xticks(ticks, [str(width) for width in ticks])
    axis.minorticks_off()
    axis.set(xlabel="hidden units", ylabel="correlation with retraining", ylim=(min(0, axis.get_ylim()[0]), 1.03))
    axis.legend(fontsize="small")
    note(figure, f"{profile} profile, {rows['seed'].nunique()} seeds; bars: 95 % t intervals")
    return figure


@styled
def methods(table: pd.DataFrame, profile: str) -> plt.Figure:
    """Pearson's and Spearman's correlation of every score with retraining, at one width."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.3), sharey=True, sharex=True)
    names = list(dict.fromkeys(table["method"]))[::-1]
    for axis, target in zip(axes, ("predictions", "weights"), strict=True):
        rows = table[table["target"] == target]
        for column, colour, marker, shift in (("pearson", PALETTE[0], "o", 0.12), ("spearman", PALETTE[1], "s", -0.12)):
            for place, name in enumerate(names):
                values = rows.loc[rows["method"] == name, column]
                mean, (low, high) = values.mean(), interval(values)
                spread = None if np.isnan(low) else [[mean - max(low, -1)], [min(high, 1) - mean]]
                axis.errorbar(
                    mean, place + shift, xerr=spread, color=colour, marker=marker, markersize=5, capsize=2,
                    label=column.capitalize() if place == 0 else None,
                )  # fmt: skip
        axis.axvline(0, color="#555555", linewidth=0.8)
        axis.set(title=target, xlabel="correlation")
    axes[0].set_yticks(range(len(names)), names)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize="small")
    axes[0].set_xlim(-1.05, 1.05)
    note(figure, f"{profile} profile, {table['seed'].nunique()} seeds; bars: 95 % t intervals")
    return figure


@styled
def bounds(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """The bound on the generalization gap, the gap, and the test error, against the noise on the weights."""
    figure, axis = plt.subplots(figsize=(WIDTH, 3.2))
    axis.plot(rows["sigma"], rows["bound"], color=PALETTE[0], marker="o", label="bound on the gap")
    spread = (rows["gap"] - rows["gap_low"]).fillna(0)
    axis.errorbar(
        rows["sigma"], rows["gap"], spread, color=PALETTE[1], marker="s", linestyle="--", capsize=2, label="real gap"
    )
    axis.plot(rows["sigma"], rows["test_error"], color=PALETTE[2], marker="D", linestyle=":", label="test error")
    axis.axhline(0.5, color="#555555", linewidth=0.8)
    axis.text(rows["sigma"].iloc[0], 0.52, "guessing", color="#555555", fontsize="small", va="bottom")
    axis.set(xscale="log", yscale="log", xlabel=r"noise on each weight, $\sigma$", ylabel="error or gap")
    axis.legend(fontsize="small")
    note(figure, f"{profile} profile, {rows['runs'].iloc[0]} training sets; bars: 95 % t intervals")
    return figure


@styled
def steady_state(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """Entries of the covariance of simulated SGD against those of the Lyapunov equation, per learning rate."""
    figure, axis = plt.subplots(figsize=(WIDTH, 3.4))
    rates = sorted(rows["parameter"].unique())
    for place, rate in enumerate(rates):
        part = rows[rows["parameter"] == rate]
        theory, simulated = (np.concatenate([np.abs(v) for v in part[name]]) for name in ("theory", "simulated"))
        axis.scatter(
            theory, simulated, s=24, alpha=0.7, color=PALETTE[place], marker=MARKERS[place],
            label=f"learning rate {rate:g}, error {part['error'].mean():.0%}",
        )  # fmt: skip
    ends = axis.get_xlim()
    axis.plot([1e-6, 10], [1e-6, 10], color="#555555", linewidth=1, zorder=0)
    smallest = min(np.abs(np.concatenate(list(rows["theory"]))))
    axis.set(
        xscale="log", yscale="log", xlim=(smallest / 2, ends[1] * 1.5), ylim=(smallest / 2, ends[1] * 3),
        xlabel="Lyapunov equation, absolute value", ylabel="simulated chains",
    )  # fmt: skip
    axis.legend(fontsize="small", handletextpad=0.1)
    note(figure, f"{profile} profile, {rows['seed'].nunique()} regressions; the line is equality")
    return figure
