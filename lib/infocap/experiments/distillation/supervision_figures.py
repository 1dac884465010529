"""The figures of book/distillation/supervision_complexity.ipynb.

Figure functions take a table and return a figure. Bands are 95 % intervals of means over teachers, or over draws for
flipped labels; pale dots and lines are single ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from infocap.experiments.distillation.results import complexities, conditions, flip_sweep, kernel_students, ridges
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, summarize

__all__ = ["along_teacher", "condition_numbers", "flipped_labels", "kernel_trade_off", "ridge_teachers"]

_STUDENTS = {"small_cnn": "convolutional student", "mlp": "fully connected student"}
_TEMPERATURES = [(1.0, "o-", PALETTE[3]), (4.0, "s--", PALETTE[0]), (10000.0, "^:", PALETTE[2])]


@styled
def along_teacher(table: Table, kernel: str = "initial") -> plt.Figure:
    """Adjusted complexity of the teacher's targets at its checkpoints, beside that of true and of random labels."""
    frame = complexities(table)
    frame = frame[frame["kernel"] == kernel]
    names = list(dict.fromkeys(frame["student"]))
    figure, grid = plt.subplots(len(names), 1, figsize=(WIDTH, 1.0 + 2.6 * len(names)), sharex=True, squeeze=False)
    for axes, name in zip(grid[:, 0], names, strict=True):
        rows = frame[frame["student"] == name]
        last = rows["checkpoint"].max()
        for targets, style, colour in (("random", ":", "0.5"), ("labels", "-.", "0.2")):
            means = summarize(rows[rows["targets"] == targets], ["targets"], ["adjusted"]).iloc[0]
            axes.axhline(means["adjusted"], linestyle=style, color=colour)
            axes.axhspan(means["adjusted_low"], means["adjusted_high"], color=colour, alpha=0.12, linewidth=0)
        for temperature, style, colour in _TEMPERATURES:
            part = rows[rows["temperature"] == temperature]
            means = part.groupby("checkpoint")["adjusted"].mean()
            axes.plot(means.index, means, style, color=colour, markersize=4)
            for _, one in part.groupby("seed") if temperature < _TEMPERATURES[-1][0] else ():
                axes.plot(one["checkpoint"], one["adjusted"], style[1:], color=colour, alpha=0.3, linewidth=1)
        axes.set(title=_STUDENTS.get(name, name), ylabel="adjusted complexity", xlim=(0.5, last + 0.5), yscale="log")
        axes.yaxis.set_major_locator(LogLocator(2))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    grid[-1, 0].set(xlabel="checkpoint of the teacher", xticks=sorted(frame["checkpoint"].dropna().unique()))
    handles = [
        Line2D([], [], color="0.5", linestyle=":", label="random labels"),
        Line2D([], [], color="0.2", linestyle="-.", label="true labels"),
        *(
            Line2D([], [], color=colour, linestyle=style[1:], marker=style[0], markersize=4, label=_label(temperature))
            for temperature, style, colour in _TEMPERATURES
        ),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize="small")
    note(figure, f"{table.profile} profile, {frame['seed'].nunique()} teachers; pale lines: single ones")
    return figure


@styled
def kernel_trade_off(table: Table) -> plt.Figure:
    """The kernel student: complexity of its targets (across) and its test error (up); one dot per seed."""
    frame = kernel_students(table)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.8))
    last = frame["checkpoint"].max()
    looks = [place for place in sorted(frame["checkpoint"].dropna().unique()) if place < last]
    kinds = [("true labels", frame["targets"] == "labels", "X", "0.2")]
    for place, colour in zip(looks, (PALETTE[8], PALETTE[1], PALETTE[2]), strict=False):
        kinds.append((f"checkpoint {place:.0f}", frame["checkpoint"] == place, "o", colour))
    for temperature, marker, colour in ((1.0, "s", PALETTE[3]), (4.0, "D", PALETTE[0])):
        final = (frame["checkpoint"] == last) & (frame["temperature"] == temperature)
        kinds.append((f"final, temperature {temperature:g}", final, marker, colour))
    for label, mask, marker, colour in kinds:
        part = frame[mask]
        axes.plot(part["adjusted"], part["student_error"], marker, color=colour, alpha=0.35, markersize=5)
        axes.plot(
            part["adjusted"].mean(), part["student_error"].mean(), marker, color=colour, markersize=9, label=label,
            markeredgecolor="black",
        )  # fmt: skip
    axes.set(xlabel="adjusted complexity of the targets", ylabel="test error of the kernel student")
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile; large: means of {frame['seed'].nunique()} teachers")
    return figure


@styled
def flipped_labels(table: Table) -> plt.Figure:
    """Adjusted complexity of flipped labels against the gap, for the kernel's interpolant and the trained network."""
    frame = flip_sweep(table)
    figure, grid = plt.subplots(1, 2, figsize=(WIDTH, 3.3), sharey=True)
    rates = sorted(frame["rate"].unique())
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(rates)))
    pairs = (("kernel_error", "kernel"), ("network_gap", "network"))
    for axes, (gap, title) in zip(grid, pairs, strict=True):
        for rate, colour in zip(rates, colours, strict=True):
            part = frame[frame["rate"] == rate]
            axes.plot(part["adjusted"], part[gap], "o", color=colour, markersize=5, label=f"{100 * rate:.0f} %")
        axes.set(title=title, xlabel="adjusted complexity")
    grid[0].set(ylabel="generalization gap")
    figure.legend(
        *grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(rates), fontsize="small",
        columnspacing=0.8, handletextpad=0.1, title="labels flipped", title_fontsize="small",
    )  # fmt: skip
    note(figure, f"{table.profile} profile, {frame['seed'].nunique()} draws")
    return figure


@styled
def condition_numbers(table: Table) -> plt.Figure:
    """Condition number of the student's kernel along its training."""
    frame = conditions(table)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0))
    for (name, rows), style, colour in zip(
        frame.groupby("student", sort=False), ("o-", "s--"), (PALETTE[3], PALETTE[0]), strict=False
    ):
        for _, one in rows.groupby("seed"):
            axes.plot(100 * one["share"], one["condition"], style, color=colour, alpha=0.3, markersize=3)
        logs = np.log(rows["condition"]).groupby(rows["share"]).mean()
        axes.plot(100 * logs.index, np.exp(logs), style, color=colour, label=_STUDENTS.get(str(name), str(name)))
    axes.set(yscale="log", xlabel="share of the student's training, %", ylabel="condition number")
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile; thin: single runs, thick: geometric means")
    return figure


@styled
def ridge_teachers(table: Table) -> plt.Figure:
    """Self-distillation: complexity of a ridge teacher's targets (above), and errors (below), against the ridge."""
    frame = ridges(table)
    means = summarize(frame, ["ridge"], ["adjusted", "error", "agreement"])
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 4.4), sharex=True)
    place = np.arange(len(means))
    for axes, key, style, colour, label in (
        (above, "adjusted", "o-", PALETTE[3], None),
        (below, "error", "s-", PALETTE[0], "test error of the student"),
    ):
        axes.plot(place, means[key], style, color=colour, label=label)
        axes.fill_between(place, means[f"{key}_low"], means[f"{key}_high"], color=colour, alpha=0.15)
    below.plot(place, 1 - means["agreement"], "^--", color="0.4", label="training labels that the teacher contradicts")
    above.set(ylabel="adjusted complexity", ylim=(0, None))
    below.set(xlabel="ridge / mean diagonal of the kernel", ylabel="share", ylim=(0, None))
    below.set_xticks(place, [f"{ridge:g}" for ridge in means["ridge"]])
    below.legend(fontsize="small", loc="center left")
    note(
        figure, f"{table.profile} profile, {frame['seed'].nunique()} draws, {100 * frame['rate'].iloc[0]:.0f} % flipped"
    )
    return figure


def _label(temperature: float) -> str:
    return f"temperature {temperature:,.0f}"
