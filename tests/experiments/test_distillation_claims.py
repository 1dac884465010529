"""Each rule of part 4 decides its statement: made-up tables for which the verdict is known."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.distillation import claims, results, supervision, training
from infocap.study.claims import Verdict, claims_of, decide
from infocap.study.tables import NotRun, Table

QUICK = CATALOGUE.load_profile("quick")
BY_NAME = {claim.name.removeprefix("distillation/"): claim for claim in claims_of(claims)}


def made(table, rows):
    """A table with a row for each cell of the profile, and its panels."""
    cells, panels = QUICK.cells(table), QUICK.panels[table]
    places = {name: [cells.index(cell) for cell in panel.cells] for name, panel in panels.items()}
    return Table(table, "quick", pd.DataFrame(rows), panels=places)


def wobble(*numbers):
    """A small number that depends on its arguments only."""
    return 1e-3 * float(np.random.default_rng([round(1000 * number) for number in numbers]).uniform(-1, 1))


def supervision_table(*, random=4.0, labels=3.0, rise=1.0, cooling=0.2, trained_rise=1.0, taught=0.15, bound=5.0):
    rows = []
    for cell in QUICK.cells("distillation/supervision"):
        complexity, condition = [], []
        for student in cell.students:
            for kernel, slope in (("initial", rise), ("trained", trained_rise)):
                row = {"student": student, "kernel": kernel, "plain": 1.0, "residual": 1.0}
                complexity.append(row | {"targets": "random", "adjusted": random + wobble(cell.seed)})
                complexity.append(row | {"targets": "labels", "adjusted": labels + wobble(cell.seed, 1)})
                for place in range(1, cell.checkpoints + 1):
                    for temperature in cell.temperatures:
                        value = 1.5 + slope * place / cell.checkpoints - cooling * np.log10(temperature)
                        complexity.append(row | {
                            "targets": "teacher", "checkpoint": place, "temperature": temperature,
                            "adjusted": value + wobble(cell.seed, place, temperature),
                        })  # fmt: skip
            condition += [
                {"student": student, "share": share, "condition": 1e4 * (1 + share)} for share in supervision.LOOKS
            ]
        rest = {"agreement": 1.0, "adjusted": 2.0, "normalized": bound / 2, "bound": 5.0}
        students = [{"targets": "labels", "student_error": 0.2 + wobble(cell.seed, 3)} | rest]
        for place in (1, 4, 7, cell.checkpoints):
            for temperature in (1.0, 4.0) if place == cell.checkpoints else (1.0,):
                students.append({
                    "targets": "teacher", "checkpoint": place, "temperature": temperature, "teacher_error": 0.1,
                    "student_error": taught + wobble(cell.seed, place),
                } | rest)  # fmt: skip
        rows.append(asdict(cell) | {
            "teacher_error": [0.1], "complexity": complexity, "condition": condition, "kernel_student": students,
        })  # fmt: skip
    return made("distillation/supervision", rows)


def flips_table(*, follows=1.0, ridge=-1.0):
    rows = []
    for cell in QUICK.cells("distillation/flips"):
        adjusted = [2 + rate + wobble(cell.seed, rate) for rate in cell.rates]
        gaps = [0.2 + follows * rate + (1 - follows) * 0.3 * abs(rate - 0.25) for rate in cell.rates]
        rows.append(asdict(cell) | {
            "adjusted": adjusted, "complexity": adjusted, "alignment": adjusted, "kernel_error": gaps,
            "network_train_error": [0.0 for _ in gaps], "network_error": gaps, "ridge_rate": 0.3,
            "ridge_adjusted": [3 + ridge * place for place in range(len(cell.ridges))],
            "ridge_error": [0.3 for _ in cell.ridges], "ridge_agreement": [1.0 for _ in cell.ridges],
        })  # fmt: skip
    return made("distillation/flips", rows)


def training_table(*, gain=0.02, online=0.02, online_noisy=0.02, stopped=0.01, agrees=0.02):
    rows = []
    for cell in QUICK.cells("distillation/training"):
        more = online_noisy if cell.panel == "noisy" else online
        students, along = [], []
        teacher = training.Teacher(None, None, None, None, best=3, history=[], model=None)
        for entry, seeds, _, options in training.plan(cell, teacher):
            for seed in seeds:
                method = entry.name
                value = 0.7 + (0 if method == "none" else gain)
                value += more if method == "online" else stopped if method == "stopped" else 0
                value += wobble(cell.teacher_seed, seed)
                same = agrees if method == "online" else 0.0
                row = {"method": method, "student_seed": seed} | options
                students.append(row | {
                    "test_accuracy": value, "train_accuracy": value, "fidelity": 0.8 + same + wobble(cell.teacher_seed),
                    "train_fidelity": 0.8, "predictive_kl": 0.1,
                    "similarity": 0.5 + same if seed == cell.student_seeds[0] else None,
                })  # fmt: skip
                along.append(row | {"test_accuracy": [value] * 10})
        teacher = [
            {
                "checkpoint": place, "step": place, "test_accuracy": 0.8, "validation_accuracy": 0.8,
                "train_accuracy": 0.8, "wrong_fitted": 0.1 if cell.label_noise else None, "complexity_labels": 2.0,
                "complexity_1": 1.8, "complexity_4": 1.6,
            }
            for place in range(1, cell.checkpoints + 1)
        ]  # fmt: skip
        rows.append(
            asdict(cell) | {"teacher_rows": teacher, "best_checkpoint": 3, "students": students, "along": along}
        )
    return made("distillation/training", rows)


MAKE = {"supervision": supervision_table, "flips": flips_table, "training": training_table}
BREAKS = {
    "random-above-labels": {"random": 3.1},
    "labels-above-teachers": {"labels": 0.3, "rise": -1.0},
    "rises-with-teacher-training": {"rise": -1.0},
    "falls-with-temperature": {"cooling": -0.2},
    "trained-kernel-agrees": {"trained_rise": -1.0, "cooling": -0.2},
    "soft-targets-beat-labels": {"taught": 0.25},
    "bound-is-vacuous": {"bound": 0.5},
    "follows-the-gap": {"follows": 0.0},
    "ridge-teachers-are-simpler": {"ridge": 1.0},
    "beats-none": {"gain": -0.05},
    "online-beats-offline-noisy": {"online_noisy": -0.02},
    "online-beats-offline-clean": {"online": -0.02},
    "online-raises-fidelity": {"agrees": -0.02},
    "online-raises-similarity": {"agrees": -0.02},
    "early-stopping-helps": {"stopped": -0.01},
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_rule_decides_its_statement(name):
    claim = BY_NAME[name]
    make = MAKE[claim.table.split("/")[1]]
    whole = make()
    assert decide(claim, whole).verdict == Verdict.REPRODUCED
    assert decide(claim, make(**BREAKS[name])).verdict == Verdict.NOT_REPRODUCED
    lacking = {panel: [*rows[:-1], None] for panel, rows in whole.panels.items()}
    fewer = Table(whole.name, whole.profile, whole.frame, panels=lacking)
    assert decide(claim, fewer).verdict == Verdict.NOT_RUN


def test_every_rule_is_here():
    assert set(BY_NAME) == set(BREAKS)


def test_a_trend_that_holds_for_one_rule_only_is_partly_reproduced():
    table = supervision_table(trained_rise=-1.0)
    assert decide(BY_NAME["trained-kernel-agrees"], table).verdict == Verdict.PARTLY


def test_means_are_over_students_first_and_intervals_over_teachers():
    frame = results.students(training_table().panel("clean"))
    means = results.by_teacher(frame, "test_accuracy", "online", 1.0)
    rows = frame[(frame["method"] == "online") & (frame["temperature"] == 1.0)]
    assert len(means) == rows["teacher_seed"].nunique() > 1 and len(rows) == 2 * len(means)
    assert means[0] == pytest.approx(rows[rows["teacher_seed"] == 0]["test_accuracy"].mean())


def test_collapsed_students_are_kept():
    frame = results.students(training_table().panel("clean"))
    frame.loc[3, "test_accuracy"] = 0.1
    method = frame.loc[3]
    assert results.by_teacher(frame, "test_accuracy", method["method"], method["temperature"]).min() < 0.5


def test_students_of_side_studies_are_not_compared_and_methods_keep_their_order():
    table = training_table()
    frame = results.compared(results.students(table.panel("noisy")).iloc[::-1])
    assert list(dict.fromkeys(frame["name"])) == list(results.METHOD_NAMES.values())
    own = table.panel("noisy").assign(students=lambda rows: [[one[0] | {"method": "mine"}] for one in rows["students"]])
    lines = results.accuracies(noisy=pd.concat([own, table.panel("noisy")]), clean=table.panel("clean"))
    assert lines["student learns from"].tolist() == [*results.METHOD_NAMES.values(), "mine"]
    assert lines.iloc[-1]["clean, over teachers"] == "not run" != lines.iloc[-1]["noisy, over teachers"]


def test_a_method_that_was_not_run_is_an_error():
    with pytest.raises(NotRun, match="offline at temperature 3 was not run"):
        results.by_teacher(results.students(training_table().panel("clean")), "test_accuracy", "offline", 3.0)
