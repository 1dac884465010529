"""The figures of book/distillation/online_distillation.ipynb.

Figure functions take a table and return a figure. Bars are 95 % intervals of means over teachers; a method's value for
a teacher is the mean over its students. Pale dots and lines are what the means are taken over.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from infocap.experiments.distillation.results import METHOD_NAMES, by_teacher, rows_of, students, teachers
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, interval, summarize

__all__ = ["accuracy", "agreement", "side_studies", "student_paths", "teacher_paths"]

_TITLES = {"clean": "clean labels", "noisy": "three labels in ten are wrong"}
_LINES = {
    ("none", 0.0): ("X:", "0.4"),
    ("offline", 1.0): ("s--", PALETTE[0]),
    ("offline", 4.0): ("D--", PALETTE[9]),
    ("online", 1.0): ("o-", PALETTE[3]),
    ("online", 4.0): ("^-", PALETTE[1]),
}


@styled
def accuracy(table: Table) -> plt.Figure:
    """Test accuracy of the students of each method: small dots are students, large ones means over teachers."""
    figure, grid = plt.subplots(2, 1, figsize=(WIDTH, 5.6))
    for axes, (name, title) in zip(grid, _TITLES.items(), strict=True):
        frame = students(table, name)
        for place, (method, temperature) in enumerate(reversed(METHOD_NAMES)):
            rows = frame[(frame["method"] == method) & (frame["temperature"] == temperature)]
            means = by_teacher(frame, "test_accuracy", method, temperature)
            low, high = interval(means)
            colour = _LINES.get((method, temperature), ("", PALETTE[2]))[1]
            axes.plot(rows["test_accuracy"], np.full(len(rows), place), "o", color=colour, alpha=0.35, markersize=4)
            bar = ([means.mean() - low], [high - means.mean()]) if len(means) > 1 else None
            axes.errorbar([means.mean()], [place], xerr=bar, fmt="D", color=colour, capsize=3, markersize=6)
        final = teachers(table, name).groupby("teacher_seed")["test_accuracy"].last().mean()
        axes.axvline(final, color="black", linestyle=":", linewidth=1)
        axes.annotate(
            "final teacher", (final, len(METHOD_NAMES) - 0.45), xytext=(-4, 0), textcoords="offset points", ha="right",
            va="center", fontsize="small",
        )  # fmt: skip
        axes.set_yticks(range(len(METHOD_NAMES)), reversed(METHOD_NAMES.values()))
        axes.set(title=title, ylim=(-0.5, len(METHOD_NAMES)))
    grid[-1].set(xlabel="test accuracy")
    note(figure, f"{table.profile} profile, {_counts(table)}")
    return figure


@styled
def teacher_paths(table: Table) -> plt.Figure:
    """The teacher on noisy labels, as it trains: accuracy, wrong labels that it fits, and complexity of its targets."""
    frame = teachers(table, "noisy")
    temperatures = [key for key in frame if key.startswith("complexity_") and key != "complexity_labels"]
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5.0), sharex=True)
    _paths(above, frame, "test_accuracy", "o-", PALETTE[0], "test accuracy")
    _paths(above, frame, "wrong_fitted", "x--", PALETTE[3], "share of wrong labels fitted")
    above.set(ylim=(0, 1))
    for key, style, colour in zip(temperatures, ("o-", "s--"), (PALETTE[2], PALETTE[4]), strict=False):
        _paths(below, frame, key, style, colour, f"targets, temperature {key.removeprefix('complexity_')}")
    _paths(below, frame, "complexity_labels", "-.", "0.3", "true labels")
    below.set(ylabel="adjusted complexity", xlabel="checkpoint of the teacher", ylim=(0, None))
    above.legend(fontsize="small", loc="upper left")
    below.legend(fontsize="small", loc="lower right")
    note(figure, f"{table.profile} profile, {frame['teacher_seed'].nunique()} teachers; pale: single ones")
    return figure


@styled
def student_paths(table: Table) -> plt.Figure:
    """Test accuracy of students along their training, means over all students of a method."""
    figure, grid = plt.subplots(2, 1, figsize=(WIDTH, 5.4), sharex=True)
    for axes, (name, title) in zip(grid, _TITLES.items(), strict=True):
        frame = rows_of(table.panel(name), "along", "teacher_seed")
        frame["temperature"] = frame["temperature"].fillna(0.0)
        for (method, temperature), (style, colour) in _LINES.items():
            rows = frame[(frame["method"] == method) & (frame["temperature"] == temperature)]
            paths = np.array(rows["test_accuracy"].tolist())
            share = 100 * np.arange(1, paths.shape[1] + 1) / paths.shape[1]
            axes.plot(share, paths.mean(0), style, color=colour, markersize=4, label=METHOD_NAMES[method, temperature])
        axes.set(title=title, ylabel="test accuracy")
    grid[-1].set(xlabel="share of the student's training, %", xticks=share)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, {_counts(table)}")
    return figure


@styled
def agreement(table: Table, name: str = "clean") -> plt.Figure:
    """Agreement of students with the final teacher: of answers and of tangent kernels, one panel each."""
    frame = students(table, name)
    columns = (("fidelity", "same answers"), ("similarity", "cosine of kernels"))
    figure, grid = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True)
    for axes, (column, label) in zip(grid, columns, strict=True):
        for place, key in enumerate(reversed(_LINES)):
            means = by_teacher(frame, column, *key)
            low, high = interval(means)
            bar = ([means.mean() - low], [high - means.mean()]) if len(means) > 1 else None
            colour = _LINES[key][1]
            axes.plot(means, np.full(len(means), place), "o", color=colour, alpha=0.35, markersize=4)
            axes.errorbar([means.mean()], [place], xerr=bar, fmt="D", color=colour, capsize=3, markersize=6)
        axes.set(xlabel=label, ylim=(-0.5, len(_LINES) - 0.5))
    grid[0].set_yticks(range(len(_LINES)), [METHOD_NAMES[key] for key in reversed(_LINES)])
    note(figure, f"{table.profile} profile, {_TITLES[name]}; pale: single teachers")
    return figure


@styled
def side_studies(table: Table) -> plt.Figure:
    """Noisy labels. Above: which checkpoint of the teacher is kept. Below: how many checkpoints the student sees.

    Stars mark the checkpoints that noisy validation labels choose.
    """
    frame = students(table, "noisy")
    first = frame[frame["student_seed"] == frame["student_seed"].min()]
    ones = first[first["temperature"] == 1.0]
    final = ones[ones["method"] == "offline"]
    every = ones[ones["method"] == "online"]
    stopped = pd.concat([ones[ones["method"] == "stopping sweep"], final])
    counts = pd.concat([final.assign(count=1), ones[ones["method"] == "update period"], every])
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 5.0), sharey=True)
    parts = ((above, stopped, "checkpoint", "checkpoint of the teacher, learned from offline", PALETTE[0]),
             (below, counts, "count", "number of checkpoints, learned from in turn", PALETTE[3]))  # fmt: skip
    for axes, rows, key, label, colour in parts:
        means = summarize(rows, [key], ["test_accuracy"]).sort_values(key)
        for _, one in rows.groupby("teacher_seed"):
            one = one.sort_values(key)
            axes.plot(one[key], one["test_accuracy"], "o:", color=colour, alpha=0.35, markersize=3)
        axes.plot(means[key], means["test_accuracy"], "D-", color=colour)
        axes.set(xlabel=label, ylabel="test accuracy", xticks=means[key])
    chosen = first[first["method"] == "stopped"]
    above.plot(chosen["checkpoint"], chosen["test_accuracy"], "k*", markersize=9, label="chosen by validation")
    above.legend(fontsize="small", loc="lower right")
    note(figure, f"{table.profile} profile; pale: single teachers, first student of each")
    return figure


def _counts(table: Table) -> str:
    rows = table.panel("noisy")
    return f"{len(rows)} teachers with {len(rows['student_seeds'].iloc[0])} students each"


def _paths(axes: plt.Axes, frame: pd.DataFrame, key: str, style: str, colour: Any, label: str) -> None:
    """A column along the checkpoints: pale lines are teachers, the strong one is their mean."""
    paths = frame.astype({key: float}).pivot(index="checkpoint", columns="teacher_seed", values=key)
    axes.plot(paths, style.strip("oxs"), color=colour, alpha=0.35, linewidth=1)
    axes.plot(paths.mean(axis=1), style, color=colour, markersize=4, label=label)
