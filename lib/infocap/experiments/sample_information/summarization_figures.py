"""The figure of book/sample_information/unique_information.ipynb on what is lost when examples are removed.

Conventions: bands are the range over seeds; with one seed there is none.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from infocap.experiments.sample_information.summarization import ORDERS
from infocap.experiments.sample_information.tasks import task_name
from infocap.study.style import PALETTE, note, styled
from infocap.study.tables import Table

__all__ = ["curves"]

WIDTH = 4.8  # inches; on a phone a figure shrinks to about three quarters of that

STYLES = {
    "iterative": (PALETTE[0], "o-", "least first, scored again each round"),
    "bottom": (PALETTE[3], "v--", "least first, scored once"),
    "random": (PALETTE[7], "s:", "random"),
    "top": (PALETTE[1], "^-.", "most first"),
}


@styled
def curves(table: Table) -> plt.Figure:
    """Test error against the share of examples that were removed, by order; one panel per task.

    Both axes are logarithmic, that of the share in what is left.
    """
    frame = table.frame
    tasks = [task_name(row) for row in frame.to_dict("records")]
    groups = list(frame.groupby([frame["panel"], np.array(tasks)], sort=False))
    lines = -(-len(groups) // 2)
    figure, panels = plt.subplots(lines, 2, figsize=(WIDTH, 1.5 + 2.1 * lines), squeeze=False)
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    for axes, ((panel, name), part) in zip(panels.flat, groups, strict=False):
        shares = np.array(part["removed"].iloc[0])
        for order in ORDERS:
            colour, style, label = STYLES[order]
            values = 1 - np.array(part[order].tolist())
            axes.plot(1 - shares, values.mean(0), style, color=colour, markersize=4, linewidth=1.4, label=label)
            axes.fill_between(1 - shares, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.set_title(name + ("" if panel == "linearized" else ",\nreal networks"))
        axes.set(xscale="log", yscale="log", xlim=(1.08, 0.92 * (1 - shares.max())))
        ticks(axes.xaxis, [1, 0.5, 0.2, 0.1, 0.05], ["0", "50", "80", "90", "95"])
        ticks(axes.yaxis, *[[0.01, 0.02, 0.05, 0.1, 0.2, 0.5]] * 2)
    for axes in panels[-1]:
        axes.set_xlabel("removed (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel("test error")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left")
    seeds = frame["seed"].nunique()
    band = f"{seeds} seeds; band: their range" if seeds > 1 else "1 seed, no band"
    note(figure, f"profile {table.profile}; {band}; logarithmic axes")
    return figure


def ticks(axis: Any, places: Sequence[float], labels: Sequence[float | str]) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FixedFormatter([str(label) for label in labels]))
