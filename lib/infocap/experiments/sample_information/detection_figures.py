"""The figures of book/sample_information/unique_information.ipynb on which examples score high.

Every function takes the table ``sample_information/detection``.

Conventions: bars are 95 % t intervals of the mean over seeds; with one seed there is none. Sigma is 1, so that F-SI is
half a mean squared change of predictions, in nats.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from infocap.experiments.sample_information.tasks import images_of, task_name
from infocap.study.style import PALETTE, note, styled
from infocap.study.tables import Table, interval

__all__ = ["adversarial", "areas", "coordinates", "flipped", "mislabelled", "ratios", "rows_of", "tails"]

WIDTH = 4.8  # inches; on a phone a figure shrinks to about three quarters of that

SCORES = {
    "auc_left_out_residual": "left-out residual",
    "auc_f_si": "F-SI, to the end",
    "auc_f_si_horizon": "F-SI, at the horizon",
    "auc_si": "SI, to the end",
    "auc_si_horizon": "SI, at the horizon",
    "auc_training_residual": "training residual",
    "auc_self_confidence": "self-confidence,\ncross-validated",
    "auc_el2n": "EL2N at start",
    "auc_grand": "GraNd at start",
}
ATTACKED = {
    "auc_loss": "loss, trained",
    "auc_f_si_trained": "F-SI, linearized\nat trained weights",
    "auc_f_si_initial": "F-SI, linearized\nat initial weights",
}
MARKERS = ("o", "s", "D", "^")


@styled
def tails(table: Table, count: int = 6) -> plt.Figure:
    """F-SI of clean examples of each task, with the least and the most informative images; first seed."""
    places = _first_seeds(table, "clean")
    figure = plt.figure(figsize=(WIDTH, 3.7 * len(places)))
    for part, place in zip(np.atleast_1d(figure.subfigures(len(places), 1)), places, strict=True):
        row, arrays = table.frame.iloc[place], table.arrays[place]
        ending = "_horizon" if row["steps"] else ""
        score = arrays[f"f_si{ending}"]
        grid = part.add_gridspec(3, count, height_ratios=(2.4, 1, 1))
        axes = part.add_subplot(grid[0, :])
        axes.hist(1e6 * score, bins=40, color=PALETTE[0])
        axes.set(yscale="log", xlabel="F-SI (millionths of a nat)", ylabel="examples", title=task_name(row))
        share = f"the top tenth holds {row[f'top_share{ending}']:.0%}"
        axes.text(0.98, 0.92, share, ha="right", va="top", transform=axes.transAxes)
        order = np.argsort(score, kind="stable")
        for line, (title, chosen) in enumerate([("least", order[:count]), ("most", order[::-1][:count])], start=1):
            images = images_of(row["data"], arrays["rows"][chosen])
            for column, image in enumerate(images):
                axes = part.add_subplot(grid[line, column])
                axes.imshow(image.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray_r")
                axes.set(xticks=[], yticks=[])
                if column == 0:
                    axes.set_ylabel(title)
    note(figure, f"profile {table.profile}; one seed")
    return figure


@styled
def mislabelled(table: Table) -> plt.Figure:
    """How well each score ranks flipped labels first, in each task."""
    rows = rows_of(table, "mislabelled")
    figure = areas(rows, {column: name for column, name in SCORES.items() if column in rows})
    note(figure, _runs(rows, table.profile))
    return figure


@styled
def adversarial(table: Table) -> plt.Figure:
    """How well F-SI and the loss rank attacked images first, in each task."""
    rows = rows_of(table, "adversarial")
    figure = areas(rows, ATTACKED)
    note(figure, _runs(rows, table.profile))
    return figure


def areas(rows: pd.DataFrame, scores: dict[str, str]) -> plt.Figure:
    """One line per score, the best mean on top; one mark per task."""
    columns = sorted(scores, key=lambda column: rows[column].mean())
    names = list(rows["task"].unique())
    figure, axes = plt.subplots(figsize=(WIDTH, 1.5 + 0.11 * len(columns) * (len(names) + 1)))
    for place, name in enumerate(names):
        part = rows[rows["task"] == name]
        shift = 0.18 * ((len(names) - 1) / 2 - place)
        centres, errors = _means([part[column] for column in columns])
        axes.errorbar(
            centres, np.arange(len(columns)) + shift, xerr=errors, fmt=MARKERS[place % 4], color=PALETTE[place],
            markersize=5, capsize=2, label=name,
        )  # fmt: skip
    axes.axvline(0.5, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(np.arange(len(columns)), [scores[column] for column in columns])
    axes.set(xlabel="area under the ROC curve (dashed: chance)", ylim=(-0.6, len(columns) - 0.4))
    axes.set_xlim(min(0.38, axes.get_xlim()[0]), 1.01)
    axes.grid(True, axis="y", color="0.93")
    figure.legend(loc="outside upper left", ncols=2, handletextpad=0.2)
    return figure


@styled
def flipped(table: Table) -> plt.Figure:
    """F-SI of flipped and of unchanged labels in each task, trained to the end; first seed."""
    places = _first_seeds(table, "mislabelled")
    figure, panels = plt.subplots(-(-len(places) // 2), 2, figsize=(WIDTH, 2.1 * -(-len(places) // 2)), squeeze=False)
    for axes in panels.flat[len(places) :]:
        axes.set_axis_off()
    for axes, place in zip(panels.flat, places, strict=False):
        arrays = table.arrays[place]
        score, wrong = np.log10(arrays["f_si"]), arrays["flipped"].astype(bool)
        bins = np.linspace(np.quantile(score, 0.01), score.max(), 25)  # the least of the least need no room
        for chosen, colour, name in [(~wrong, PALETTE[0], "unchanged"), (wrong, PALETTE[3], "flipped")]:
            weights = np.full(chosen.sum(), 1 / max(chosen.sum(), 1))
            kept = np.maximum(score[chosen], bins[0])
            axes.hist(kept, bins=bins, weights=weights, color=colour, alpha=0.6, label=name)
        powers = np.arange(np.ceil(bins[0] / 2) * 2, bins[-1], 2)
        axes.set_xticks(powers, [f"$10^{{{power:.0f}}}$" for power in powers])
        axes.set_title(task_name(table.frame.iloc[place]))
    for axes in panels[-1]:
        axes.set_xlabel("F-SI (nats)")
    for axes in panels[:, 0]:
        axes.set_ylabel("share of its kind")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    note(figure, f"profile {table.profile}; one seed")
    return figure


@styled
def ratios(table: Table) -> plt.Figure:
    """Mean F-SI of rare over common examples, of distinct over jittered images, and of twins over single ones."""
    subclass, sources = rows_of(table, "subclass"), rows_of(table, "sources")
    lines = [
        *((_choice(name), part["ratio"], PALETTE[0]) for name, part in _groups(subclass)),
        *((f"distinct, not copies:\n{name}", part["ratio"], PALETTE[1]) for name, part in _groups(sources)),
        *((f"with a twin:\n{name}", part["twin_ratio"], PALETTE[2]) for name, part in _groups(sources)),
    ][::-1]
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.55 * len(lines)))
    for place, (_, values, colour) in enumerate(lines):
        logs = np.log(values.to_numpy(dtype=float))
        low, high = interval(logs)
        axes.plot(values, np.full(len(values), place), "o", color=colour, markersize=4, alpha=0.45)
        axes.plot(np.exp([low, high]), [place, place], color=colour, linewidth=2)
        axes.plot(np.exp(logs.mean()), place, "D", color=colour, markersize=6)
    axes.axvline(1, color="black", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axes.set(xscale="log", xlabel="ratio of mean F-SI (dashed: none)", ylim=(-0.6, len(lines) - 0.4))
    _plain_ticks(axes.xaxis, [0.1, 0.2, 0.5, 1, 2, 5, 10])
    note(figure, _runs(sources, table.profile, "line: 95 % t interval of the mean logarithm"))
    return figure


@styled
def coordinates(table: Table) -> plt.Figure:
    """Error of the kernel over random coordinates, and the rank correlation of F-SI with the full kernel's."""
    rows = rows_of(table, "coordinates")
    counts = rows["coordinates"].iloc[0]
    figure, panels = plt.subplots(2, 1, figsize=(WIDTH, 5), sharex=True)
    for axes, values in [
        (panels[0], [("error", "relative error of the kernel", PALETTE[0], "o-")]),
        (panels[1], [("spearman_horizon", "at the horizon", PALETTE[1], "s--"),
                     ("spearman", "to the end, ridge 1", PALETTE[0], "o-")]),
    ]:  # fmt: skip
        for column, label, colour, style in values:
            centres, errors = _means(np.array(rows[column].tolist()).T)
            axes.errorbar(counts, centres, yerr=errors, fmt=style, color=colour, capsize=3, label=label)
    panels[0].set(ylabel="relative error of\nthe kernel (Frobenius)", xscale="log", ylim=(0, None))
    panels[1].axhline(0.95, color="black", linewidth=1, linestyle="--")
    panels[1].set(
        ylabel="Spearman's correlation\nof F-SI (dashed: .95)", xlabel="coordinates drawn from each parameter tensor"
    )
    panels[1].legend(loc="lower right")
    _plain_ticks(panels[1].xaxis, counts)
    note(figure, _runs(rows, table.profile))
    return figure


def rows_of(table: Table, experiment: str) -> pd.DataFrame:
    """The rows of one experiment with its columns only, and the name of each row's ``task``."""
    rows = table.frame[table.frame["experiment"] == experiment].dropna(axis=1, how="all")
    return rows.assign(task=[task_name(row) for row in rows.to_dict("records")])


def _groups(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return list(rows.groupby("task", sort=False))


def _choice(name: str) -> str:
    common, rare, other = name.split(", ")
    return f"rare {rare} with {common},\nagainst {other}"


def _first_seeds(table: Table, experiment: str) -> list[int]:
    """Places in the table of the first seed of each task."""
    rows = rows_of(table, experiment)
    return [table.frame.index.get_loc(part.index[0]) for _, part in _groups(rows)]


def _means(groups: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Means and, with several seeds, the halves of their intervals; correlations and areas end at 1."""
    means = np.array([np.mean(group) for group in groups])
    ends = np.array([interval(group) for group in groups])
    if np.isnan(ends).all():
        return means, None
    low, high = np.clip(ends, 0, 1).T
    return means, np.maximum(np.stack([means - low, high - means]), 0)


def _plain_ticks(axis: Any, values: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _runs(rows: pd.DataFrame, profile: str, bars: str = "bars: 95 % t intervals of the mean") -> str:
    seeds = rows["seed"].nunique()
    return f"profile {profile}; {seeds} seeds; {bars}" if seeds > 1 else f"profile {profile}; 1 seed, no interval"
