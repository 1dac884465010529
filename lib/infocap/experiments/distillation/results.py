"""What do the tables of part 4 say? Their lists of rows as frames, and means over students, teachers and seeds."""

import pandas as pd

from infocap.study.claims import NotRun
from infocap.study.tables import Table, value_text

__all__ = [
    "METHOD_NAMES", "accuracies", "by_teacher", "collapsed", "complexities", "conditions", "coverage", "flip_sweep",
    "kernel_students", "ridges", "rows_of", "students", "teachers",
]  # fmt: skip

METHOD_NAMES = {
    ("none", 0.0): "labels only",
    ("offline", 1.0): "offline, temperature 1",
    ("offline", 4.0): "offline, temperature 4",
    ("online", 1.0): "online, temperature 1",
    ("online", 4.0): "online, temperature 4",
    ("stopped", 1.0): "best early-stopped teacher",
}
_PAPER = [  # what the paper's title experiments need, and where this book could run them
    ("CIFAR-10, ResNet-56 to LeNet-5x8", "cifar10_lenet"),
    ("CIFAR-10, ResNet-56 to ResNet-20", "cifar10_resnet20"),
    ("CIFAR-100, ResNet-56 to LeNet-5x8", "cifar100_lenet"),
    ("CIFAR-100, ResNet-56 to ResNet-20", "cifar100_resnet20"),
]


def rows_of(rows: pd.DataFrame, column: str, *named: str) -> pd.DataFrame:
    """The rows that each cell lists in ``column``, one frame, with the cell's fields ``named`` beside them."""
    return pd.DataFrame(
        [{name: cell[name] for name in named} | line for cell in rows.to_dict("records") for line in cell[column]]
    )


def complexities(table: Table, name: str = "small") -> pd.DataFrame:
    """``seed``, ``student``, ``kernel``, ``targets``, ``checkpoint``, ``temperature`` and three complexities."""
    return rows_of(table.panel(name), "complexity", "seed")


def conditions(table: Table, name: str = "small") -> pd.DataFrame:
    """``seed``, ``student``, ``share`` of its training, and the ``condition`` number of its kernel."""
    return rows_of(table.panel(name), "condition", "seed")


def kernel_students(table: Table, name: str = "small") -> pd.DataFrame:
    """``seed``, ``targets``, ``checkpoint``, ``temperature`` and every part of the trade-off of the kernel student."""
    return rows_of(table.panel(name), "kernel_student", "seed")


def flip_sweep(table: Table, name: str = "small") -> pd.DataFrame:
    """One row per seed and rate: complexities, alignment, errors, and the network's gap."""
    lines = []
    names = ("adjusted", "complexity", "alignment", "kernel_error", "network_train_error", "network_error")
    for cell in table.panel(name).to_dict("records"):
        for place, rate in enumerate(cell["rates"]):
            lines.append({"seed": cell["seed"], "rate": rate} | {key: cell[key][place] for key in names})
    frame = pd.DataFrame(lines)
    return frame.assign(network_gap=frame["network_error"] - frame["network_train_error"])


def ridges(table: Table, name: str = "small") -> pd.DataFrame:
    """Teachers by ridge regression with the student's own kernel: one row per seed and ridge."""
    lines = []
    for cell in table.panel(name).to_dict("records"):
        for place, ridge in enumerate(cell["ridges"]):
            keys = ("ridge_adjusted", "ridge_error", "ridge_agreement")
            lines.append(
                {"seed": cell["seed"], "ridge": ridge, "rate": cell["ridge_rate"]}
                | {key.removeprefix("ridge_"): cell[key][place] for key in keys}
            )
    return pd.DataFrame(lines)


def students(table: Table, name: str) -> pd.DataFrame:
    """One row per student of a panel; ``temperature`` is 0 for those that learn from labels."""
    frame = rows_of(table.panel(name), "students", "panel", "teacher_seed")
    return frame.assign(temperature=frame["temperature"].fillna(0.0))


def teachers(table: Table, name: str) -> pd.DataFrame:
    """One row per teacher and checkpoint."""
    return rows_of(table.panel(name), "teacher", "panel", "teacher_seed", "best_checkpoint")


def by_teacher(frame: pd.DataFrame, column: str, method: str, temperature: float) -> pd.Series:
    """Means of a column over the students of each teacher, by ``teacher_seed``; students without a value are left out.

    Raises:
        NotRun: Nothing of this method and temperature was run.
    """
    rows = frame[(frame["method"] == method) & (frame["temperature"] == temperature)].dropna(subset=column)
    if rows.empty:
        raise NotRun(f"{method} at temperature {temperature:g} was not run")
    return rows.groupby("teacher_seed")[column].mean()


def collapsed(frame: pd.DataFrame, below: float = 0.3) -> pd.DataFrame:
    """Students whose test accuracy is below a level that every trained network passes."""
    return frame[frame["test_accuracy"] < below]


def accuracies(table: Table, names: tuple[str, ...] = ("clean", "noisy")) -> pd.DataFrame:
    """Test accuracy of each method: mean and 95 % half width over teachers, and over the students of all teachers."""
    lines = []
    for (method, temperature), title in METHOD_NAMES.items():
        line = {"student learns from": title}
        for name in names:
            frame = students(table, name)
            rows = frame[(frame["method"] == method) & (frame["temperature"] == temperature)]
            means = by_teacher(frame, "test_accuracy", method, temperature)
            line[f"{name}, over teachers"] = value_text(means)
            line[f"{name}, over students"] = value_text(rows["test_accuracy"])
        lines.append(line)
    return pd.DataFrame(lines)


def coverage(table: Table) -> pd.DataFrame:
    """The paper's image data sets, and whether this profile ran them."""
    lines = []
    for title, name in _PAPER:
        try:
            frame = students(table, name)
            text = ", ".join(
                f"{METHOD_NAMES[key]} {value_text(by_teacher(frame, 'test_accuracy', *key))}" for key in METHOD_NAMES
            )
        except NotRun:
            text = "not run in this profile"
        lines.append({"experiment": title, "result": text})
    lines.append({"experiment": "Tiny-ImageNet", "result": "not run: the images are not part of this project"})
    return pd.DataFrame(lines)
