"""The figure of the first page: one panel for each part.

A panel takes its table and says so where the profile has not run what it shows. Bars are 95 % intervals of means over
seeds, supersamples or teachers.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from infocap.experiments.distillation.results import complexities
from infocap.experiments.generalization.results import by_size
from infocap.experiments.noisy_labels.results import best
from infocap.experiments.noisy_labels.results import main as main_setting
from infocap.experiments.sample_information.results import agreement, panel
from infocap.study.claims import NotRun
from infocap.study.style import PALETTE, note, styled
from infocap.study.tables import Table, interval, summarize

__all__ = ["overview"]

_TABLES = {
    "noisy_labels/training": "1  Noisy labels",
    "sample_information/retraining": "2  Single examples",
    "generalization/training": "3  Bounds",
    "distillation/supervision": "4  Distillation",
}


@styled
def overview(tables: dict[str, Table]) -> plt.Figure:
    """One result of each part.

    Args:
        tables: By name, at least the four that the panels show.
    """
    figure, grid = plt.subplots(2, 2, figsize=(5.8, 3.5))
    for axes, (name, title), draw in zip(
        grid.flat, _TABLES.items(), (_stored, _retrained, _bounded, _complex), strict=True
    ):
        try:
            draw(axes, tables[name])
        except NotRun:
            axes.clear()
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not run in this profile", transform=axes.transAxes, ha="center", fontsize="small")
        axes.set_title(title, fontweight="bold")
    note(figure, f"{next(iter(tables.values())).profile} profile; bars: 95 % intervals of means")
    return figure


def _stored(axes: plt.Axes, table: Table) -> None:
    rows = best(main_setting(table))
    names = ["LIMIT Laplace", "soft penalty", "GCE", "cross-entropy"]
    groups = [rows.loc[rows["family"] == name, "memorized_information"] for name in names]
    entropy = rows["noise_entropy"].mean()
    _dots(axes, names, groups, (PALETTE[0], PALETTE[2], PALETTE[4], PALETTE[3]), (0, entropy))
    axes.axvline(entropy, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="nats stored per label, at least", xlim=(-0.05 * entropy, 1.08 * entropy))


def _retrained(axes: plt.Axes, table: Table) -> None:
    rows = agreement(panel(table, "width"))
    rows = rows[(rows["target"] == "predictions") & (rows["method"] == "linearized")]
    _curve(axes, summarize(rows, ["width"], ["pearson"]), "width", "pearson", "o-", PALETTE[0], "", (-1, 1))
    ticks = sorted(rows["width"].unique())
    axes.set(
        xlabel="hidden units",
        ylabel="correlation with\nretraining",
        xscale="log",
        ylim=(min(0, axes.get_ylim()[0]), 1.05),
    )
    axes.set_xticks(ticks, [f"{width:g}" for width in ticks])
    axes.minorticks_off()


def _bounded(axes: plt.Axes, table: Table) -> None:
    means = summarize(by_size(table, "paper"), ["n"], ["gap", "bound"])
    for key, label, style, colour in (("bound", "f-CMI bound", "s-", PALETTE[3]), ("gap", "gap", "o-", PALETTE[0])):
        _curve(axes, means, "n", key, style, colour, label, (0, np.inf))
    axes.set(xlabel="training examples", ylabel="0-1 loss", xscale="log", ylim=(0, None))
    axes.set_xticks(means["n"], [f"{n:,}" for n in means["n"]])
    axes.minorticks_off()
    axes.legend(fontsize="small")


def _complex(axes: plt.Axes, table: Table) -> None:
    frame = complexities(table)
    frame = frame[(frame["kernel"] == "initial") & (frame["student"] == frame["student"].iloc[0])]
    final = frame["checkpoint"] == frame["checkpoint"].max()
    masks = {
        "teacher, temp. 4": final & (frame["temperature"] == 4),
        "teacher, temp. 1": final & (frame["temperature"] == 1),
        "true labels": frame["targets"] == "labels",
        "random labels": frame["targets"] == "random",
    }
    groups = [frame.loc[mask, "adjusted"] for mask in masks.values()]
    _dots(axes, list(masks), groups, (PALETTE[0], PALETTE[2], PALETTE[4], PALETTE[3]), (0, np.inf))
    axes.set(xlabel="adjusted complexity", xlim=(0, None))


def _dots(
    axes: plt.Axes, names: list[str], groups: Sequence[pd.Series], colours: Sequence[Any], bounds: tuple[float, float]
) -> None:
    """One line per name: the mean of its runs with the interval; one run has a dot only."""
    for place, (values, colour) in enumerate(zip(groups, colours, strict=True)):
        if len(values):
            mean = values.mean()
            ends = np.nan_to_num(np.clip(interval(values), *bounds), nan=mean)
            axes.errorbar(mean, place, xerr=np.abs(ends - mean)[:, None], fmt="o", color=colour, capsize=3)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)


def _curve(
    axes: plt.Axes, means: pd.DataFrame, across: str, up: str, style: str, colour: Any, label: str,
    bounds: tuple[float, float],
) -> None:  # fmt: skip
    ends = means[[f"{up}_low", f"{up}_high"]].clip(*bounds).T.fillna(means[up])
    lengths = (ends - means[up]).abs().to_numpy()
    axes.errorbar(means[across], means[up], lengths, fmt=style, color=colour, label=label, capsize=3, markersize=5)
