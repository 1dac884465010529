"""The claims of part 4 and the rules that decide them.

Teachers are the runs: a method's value is the mean over the students of a teacher, intervals are over teachers, and
methods are paired by them. In the sweep of flipped labels runs are draws of data, flips and network.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from infocap.experiments.distillation.results import (
    by_teacher,
    complexities,
    flip_sweep,
    kernel_students,
    ridges,
    students,
)
from infocap.study.claims import Claim, Decision, Verdict, exceeds, holds, in_each
from infocap.study.tables import Table

__all__ = ["CLAIMS"]

_PANELS = {"clean": "clean labels", "noisy": "noisy labels"}
_DISTILLED = [("offline", 1.0), ("offline", 4.0), ("online", 1.0), ("online", 4.0)]


def random_above_labels(table: Table, profile: Any) -> Decision:
    """For each student, random over true labels exceeds 1.25: adjusted complexity, initial kernel."""
    return in_each(
        exceeds((_targets(rows, "random") / _targets(rows, "labels")).tolist(), 1.25, f"{student}, ratio")
        for student, rows in _by_student(table, profile, "initial")
    )


def labels_above_teachers(table: Table, profile: Any) -> Decision:
    """For each student, labels minus final teacher and final minus first checkpoint, at temperature 1, exceed 0."""
    return in_each(_steps(table, profile, "initial"))


def rises_with_teacher_training(table: Table, profile: Any) -> Decision:
    """For each student, Spearman's correlation of checkpoint and complexity at temperature 1 exceeds .8."""
    return in_each(_rises(table, profile, "initial"))


def falls_with_temperature(table: Table, profile: Any) -> Decision:
    """For each student, complexity at temperature 1 minus that at 4, mean over checkpoints, exceeds 0."""
    return in_each(_cools(table, profile, "initial"))


def trained_kernel_agrees(table: Table, profile: Any) -> Decision:
    """The two rules above, on the kernel after training."""
    rises, cools = (in_each(rule(table, profile, "trained")) for rule in (_rises, _cools))
    verdict = rises.verdict if rises.verdict == cools.verdict else Verdict.PARTLY
    return Decision(verdict, f"{rises.evidence}. {cools.evidence}", rises.estimates + cools.estimates)


def follows_the_gap(table: Table, profile: Any) -> Decision:
    """Pearson's correlation of adjusted complexity with the gap over all rates exceeds .85, for kernel and network."""
    frame = flip_sweep(table, profile)
    return in_each(
        exceeds([_pearson(part["adjusted"], part[gap]) for _, part in frame.groupby("seed")], 0.85, what)
        for gap, what in (("kernel_error", "kernel"), ("network_gap", "network"))
    )


def ridge_teachers_are_simpler(table: Table, profile: Any) -> Decision:
    """In every draw the adjusted complexity of the ridge teacher's predictions does not rise with the ridge."""
    frame = ridges(table, profile).sort_values(["seed", "ridge"])
    rise = frame.groupby("seed")["adjusted"].diff().max()
    return holds(rise <= 1e-9, f"largest rise {rise:.1e} in {frame['seed'].nunique()} draws")


def soft_targets_beat_labels(table: Table, profile: Any) -> Decision:
    """Kernel student: test error with labels minus with the final teacher's targets at temperature 1 exceeds 0."""
    frame = kernel_students(table, profile)
    taught = frame[(frame["checkpoint"] == frame["checkpoint"].max()) & (frame["temperature"] == 1.0)]
    labels = frame[frame["targets"] == "labels"].set_index("seed")["student_error"]
    return exceeds((labels - taught.set_index("seed")["student_error"]).tolist(), 0.0, "difference of errors")


def distillation_beats_none(table: Table, profile: Any) -> Decision:
    """On clean and on noisy labels, every kind of distillation from the full teacher minus none exceeds 0."""
    return in_each(
        _gain(students(table, profile, panel), "test_accuracy", method, ("none", 0.0), title)
        for panel, title in _PANELS.items()
        for method in _DISTILLED
    )


def online_beats_offline_noisy(table: Table, profile: Any) -> Decision:
    """With noisy labels, accuracy of online minus offline exceeds 0 at both temperatures."""
    return _online(table, profile, "noisy", "test_accuracy")


def online_beats_offline_clean(table: Table, profile: Any) -> Decision:
    """With clean labels, accuracy of online minus offline exceeds 0 at both temperatures."""
    return _online(table, profile, "clean", "test_accuracy")


def online_raises_fidelity(table: Table, profile: Any) -> Decision:
    """With clean labels, fidelity on test data of online minus offline exceeds 0 at both temperatures."""
    return _online(table, profile, "clean", "fidelity")


def online_raises_similarity(table: Table, profile: Any) -> Decision:
    """With clean labels, cosine of the full kernels of online minus offline exceeds 0 at both temperatures."""
    return _online(table, profile, "clean", "similarity")


def early_stopping_helps(table: Table, profile: Any) -> Decision:
    """In both panels, accuracy with the checkpoint of best validation accuracy minus with the final one exceeds 0."""
    return in_each(
        _gain(students(table, profile, panel), "test_accuracy", ("stopped", 1.0), ("offline", 1.0), title)
        for panel, title in _PANELS.items()
    )


def bound_is_vacuous(table: Table, profile: Any) -> Decision:
    """For all targets and seeds, 2 sqrt(q tr K) / n exceeds 1, q the squared complexity: no margin helps.

    At a margin up to 1 the bound is at least this; at a larger one every target is a violation.
    """
    least = 2 * kernel_students(table, profile)["normalized"].min()
    return holds(least > 1, f"smallest value {least:.2f}")


def _by_student(table: Table, profile: Any, kernel: str) -> Iterator[tuple[str, pd.DataFrame]]:
    frame = complexities(table, profile)
    for student, rows in frame[frame["kernel"] == kernel].groupby("student", sort=False):
        yield str(student), rows


def _targets(rows: pd.DataFrame, targets: str, checkpoint: int | None = None) -> pd.Series:
    """Adjusted complexity by seed; of a teacher, at temperature 1."""
    rows = rows[rows["targets"] == targets]
    if checkpoint is not None:
        rows = rows[(rows["checkpoint"] == checkpoint) & (rows["temperature"] == 1.0)]
    return rows.set_index("seed")["adjusted"]


def _steps(table: Table, profile: Any, kernel: str) -> Iterator[Decision]:
    for student, rows in _by_student(table, profile, kernel):
        first, final = (_targets(rows, "teacher", place) for place in (1, int(rows["checkpoint"].max())))
        yield exceeds((_targets(rows, "labels") - final).tolist(), 0.0, f"{student}, labels - final")
        yield exceeds((final - first).tolist(), 0.0, f"{student}, final - first")


def _rises(table: Table, profile: Any, kernel: str) -> Iterator[Decision]:
    for student, rows in _by_student(table, profile, kernel):
        rows = rows[rows["temperature"] == 1.0]
        values = [spearmanr(part["checkpoint"], part["adjusted"]).statistic for _, part in rows.groupby("seed")]
        yield exceeds(values, 0.8, f"{student}, {kernel} kernel, rank correlation")


def _cools(table: Table, profile: Any, kernel: str) -> Iterator[Decision]:
    for student, rows in _by_student(table, profile, kernel):
        means = rows.groupby(["temperature", "seed"])["adjusted"].mean()
        yield exceeds((means[1.0] - means[4.0]).tolist(), 0.0, f"{student}, {kernel} kernel, fall")


def _gain(frame: pd.DataFrame, column: str, ours: tuple[str, float], other: tuple[str, float], title: str) -> Decision:
    name = f"{ours[0]} t{ours[1]:g} - {other[0]}" + (f" t{other[1]:g}" if other[1] else "")
    gain = by_teacher(frame, column, *ours) - by_teacher(frame, column, *other)
    return exceeds(gain.tolist(), 0.0, f"{title}, {name}")


def _online(table: Table, profile: Any, panel: str, column: str) -> Decision:
    frame = students(table, profile, panel)
    return in_each(
        _gain(frame, column, ("online", temperature), ("offline", temperature), _PANELS[panel])
        for temperature in (1.0, 4.0)
    )


def _pearson(left: pd.Series, right: pd.Series) -> float:
    return float(np.corrcoef(left, right)[0, 1])


_PAPER = "Harutyunyan et al. (2023)"
_SUPERVISION, _FLIPS, _TRAINING = (f"distillation/{name}" for name in ("supervision", "flips", "training"))

CLAIMS: list[Claim] = [
    Claim(
        "distillation/random-above-labels",
        "Random labels are far more complex for a student than true labels.",
        "book",
        f"this book, after {_PAPER}",
        _SUPERVISION,
        random_above_labels,
        figure="fig-supervision-initial",
        note="The threshold is ours, from a pilot run. More teachers would decide it.",
    ),
    Claim(
        "distillation/labels-above-teachers",
        "Labels are more complex than a trained teacher's targets, and these than an early teacher's.",
        "book",
        f"this book, after {_PAPER}",
        _SUPERVISION,
        labels_above_teachers,
        figure="fig-supervision-initial",
        note="A teacher's first checkpoint need not be its simplest, and one of ours is not. More teachers, "
        "with checkpoints inside the first epoch, would decide it.",
    ),
    Claim(
        "distillation/rises-with-teacher-training",
        "Complexity of a teacher's targets rises while it trains.",
        "paper",
        f"{_PAPER}, in words; rule: ours",
        _SUPERVISION,
        rises_with_teacher_training,
        figure="fig-supervision-initial",
        note="The threshold is ours: the paper says it in words. More teachers would decide it.",
    ),
    Claim(
        "distillation/falls-with-temperature",
        "Targets at temperature 4 are less complex than at temperature 1.",
        "paper",
        f"{_PAPER}, in words; rule: ours",
        _SUPERVISION,
        falls_with_temperature,
        figure="fig-supervision-initial",
        note="Two temperatures were tried. More teachers would decide it.",
    ),
    Claim(
        "distillation/trained-kernel-agrees",
        "The kernel of the trained student shows the same two trends.",
        "book",
        "this book",
        _SUPERVISION,
        trained_kernel_agrees,
        figure="fig-supervision-trained",
        note="Training turns the student's kernel towards its own targets, and both trends become weak. More "
        "teachers would tell weak from absent.",
    ),
    Claim(
        "distillation/soft-targets-beat-labels",
        "The kernel student makes fewer errors with the final teacher's targets than with labels.",
        "paper",
        f"{_PAPER}; kernel student: ours",
        _SUPERVISION,
        soft_targets_beat_labels,
        figure="fig-supervision-trade",
        note="The gain is small, and teachers differ. More teachers would decide it.",
    ),
    Claim(
        "distillation/bound-is-vacuous",
        "The margin bound itself says nothing at this size, at any margin.",
        "book",
        "a pilot run of this book",
        _SUPERVISION,
        bound_is_vacuous,
        figure="fig-supervision-trade",
        note="The rule takes the best target of any seed. Larger sets, or an easier task, could make the bound "
        "speak; a run at such a size would decide it.",
    ),
    Claim(
        "distillation/follows-the-gap",
        "Complexity of flipped labels correlates with the generalization gap.",
        "book",
        "a pilot run of this book",
        _FLIPS,
        follows_the_gap,
        figure="fig-supervision-flips",
        note="The threshold is ours, from a pilot run. More draws of data and flips would decide it.",
    ),
    Claim(
        "distillation/ridge-teachers-are-simpler",
        "A stronger ridge makes the teacher's targets simpler.",
        "theorem",
        "this book",
        _FLIPS,
        ridge_teachers_are_simpler,
        figure="fig-supervision-ridge",
    ),
    Claim(
        "distillation/beats-none",
        "Any distillation from the full teacher beats learning from labels.",
        "paper",
        _PAPER,
        _TRAINING,
        distillation_beats_none,
        figure="fig-distillation-accuracy",
        note="With noisy labels every kind of distillation helps here. With clean labels there is little to "
        "gain at this size, and online distillation loses. The paper's images and networks, which are "
        "panels of `full`, would decide it.",
    ),
    Claim(
        "distillation/online-beats-offline-noisy",
        "With noisy labels online distillation beats offline distillation.",
        "book",
        "this book's own regime",
        _TRAINING,
        online_beats_offline_noisy,
        figure="fig-distillation-accuracy",
        note="In a first complete run students had more epochs, and both intervals were above zero. They were "
        "shortened for time before we knew what that would give, and the weaker result was kept. More "
        "teachers, or the longer training, would decide it.",
    ),
    Claim(
        "distillation/online-beats-offline-clean",
        "With clean labels online distillation beats offline distillation.",
        "paper",
        f"{_PAPER}, larger data sets",
        _TRAINING,
        online_beats_offline_clean,
        figure="fig-distillation-accuracy",
        note="A pilot tried other sizes, networks and schedules on Fashion-MNIST, and none showed a clear "
        "gain. The paper's images have more classes and its trainings are longer; those panels of `full` "
        "would decide it.",
    ),
    Claim(
        "distillation/online-raises-fidelity",
        "Students of online distillation agree more with the final teacher.",
        "book",
        f"this book, after {_PAPER}",
        _TRAINING,
        online_raises_fidelity,
        figure="fig-distillation-agreement",
        note="A pilot with a single teacher saw it; over several teachers it is not there. More teachers would "
        "decide it.",
    ),
    Claim(
        "distillation/online-raises-similarity",
        "Their tangent kernels are more similar to the teacher's.",
        "book",
        f"this book, after {_PAPER}",
        _TRAINING,
        online_raises_similarity,
        figure="fig-distillation-agreement",
        note="A pilot with a single teacher saw it at both temperatures. More teachers, and kernels on more "
        "test images, would decide it.",
    ),
    Claim(
        "distillation/early-stopping-helps",
        "Stopping the teacher early helps the student.",
        "paper",
        _PAPER,
        _TRAINING,
        early_stopping_helps,
        figure="fig-distillation-accuracy",
        note="The checkpoint is the best on few validation labels, and with clean labels a teacher hardly "
        "overfits. In a first run with longer trainings of students it was not reproduced at all. More "
        "teachers, and tasks on which they overfit, would decide it.",
    ),
]
