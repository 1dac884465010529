"""What do the tables of part 4 say? Their lists of rows as frames, and means over students, teachers and seeds.

``rows`` are those of a panel, ``table.panel("clean")``, or what ``table.also(...)`` returned.
"""

import pandas as pd

from infocap.study.tables import NotRun, value_text

__all__ = [
    "METHOD_NAMES", "accuracies", "by_teacher", "compared", "complexities", "conditions", "flip_sweep",
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
_SIDE = ("stopping sweep", "update period", "squared, offline", "squared, online")


def rows_of(rows: pd.DataFrame, column: str, *named: str) -> pd.DataFrame:
    """The rows that each cell lists in ``column``, one frame, with the cell's fields ``named`` beside them."""
    return pd.DataFrame(
        [{name: cell[name] for name in named} | line for cell in rows.to_dict("records") for line in cell[column]]
    )


def complexities(rows: pd.DataFrame) -> pd.DataFrame:
    """``seed``, ``student``, ``kernel``, ``targets``, ``checkpoint``, ``temperature`` and three complexities."""
    return rows_of(rows, "complexity", "seed")


def conditions(rows: pd.DataFrame) -> pd.DataFrame:
    """``seed``, ``student``, ``share`` of its training, and the ``condition`` number of its kernel."""
    return rows_of(rows, "condition", "seed")


def kernel_students(rows: pd.DataFrame) -> pd.DataFrame:
    """``seed``, ``targets``, ``checkpoint``, ``temperature`` and every part of the trade-off of the kernel student."""
    return rows_of(rows, "kernel_student", "seed")


def flip_sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per seed and rate: complexities, alignment, errors, and the network's gap."""
    lines = []
    names = ("adjusted", "complexity", "alignment", "kernel_error", "network_train_error", "network_error")
    for cell in rows.to_dict("records"):
        for place, rate in enumerate(cell["rates"]):
            lines.append({"seed": cell["seed"], "rate": rate} | {key: cell[key][place] for key in names})
    frame = pd.DataFrame(lines)
    return frame.assign(network_gap=frame["network_error"] - frame["network_train_error"])


def ridges(rows: pd.DataFrame) -> pd.DataFrame:
    """Teachers by ridge regression with the student's own kernel: one row per seed and ridge."""
    lines = []
    for cell in rows.to_dict("records"):
        for place, ridge in enumerate(cell["ridges"]):
            keys = ("ridge_adjusted", "ridge_error", "ridge_agreement")
            lines.append(
                {"seed": cell["seed"], "ridge": ridge, "rate": cell["ridge_rate"]}
                | {key.removeprefix("ridge_"): cell[key][place] for key in keys}
            )
    return pd.DataFrame(lines)


def students(rows: pd.DataFrame, column: str = "students") -> pd.DataFrame:
    """One row per student of a panel's rows, or of those of a method of your own.

    ``temperature`` is 0 for those that learn without one; ``name`` is the method's as pages print it.

    Args:
        rows: Such as ``table.panel("clean")`` or ``table.also(mine, "clean")``.
        column: ``students``, or ``along`` for the accuracies along their training.
    """
    frame = rows_of(rows, column, "panel", "teacher_seed")
    temperatures = frame["temperature"].fillna(0.0) if "temperature" in frame else 0.0
    frame = frame.assign(temperature=temperatures)
    keys = zip(frame["method"], frame["temperature"], strict=True)
    return frame.assign(name=[METHOD_NAMES.get(key, key[0]) for key in keys])


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Students of methods that are compared, in the order of the methods: those of side studies are left out."""
    frame = frame[~frame["method"].isin(_SIDE)]
    order = [*METHOD_NAMES.values(), *frame["name"]]
    return frame.sort_values("name", key=lambda names: names.map(order.index), kind="stable")


def teachers(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per teacher and checkpoint of a panel's rows."""
    return rows_of(rows, "teacher_rows", "panel", "teacher_seed", "best_checkpoint")


def by_teacher(frame: pd.DataFrame, column: str, method: str, temperature: float) -> pd.Series:
    """Means of a column over the students of each teacher, by ``teacher_seed``; students without a value are left out.

    Raises:
        NotRun: Nothing of this method and temperature was run.
    """
    rows = frame[(frame["method"] == method) & (frame["temperature"] == temperature)].dropna(subset=column)
    if rows.empty:
        raise NotRun(f"{method} at temperature {temperature:g} was not run")
    return rows.groupby("teacher_seed")[column].mean()


def accuracies(**panels: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of each method: mean and 95 % half width over teachers, and over the students of all teachers.

    Args:
        **panels: Rows by the name of their panel, those of a method of your own among them; each has two columns.
    """
    parts = {panel: compared(students(rows)) for panel, rows in panels.items()}
    lines = []
    for name in dict.fromkeys(name for frame in parts.values() for name in frame["name"]):
        line = {"student learns from": name}
        for panel, frame in parts.items():
            rows = frame[frame["name"] == name]
            if rows.empty:
                continue
            line[f"{panel}, over teachers"] = value_text(rows.groupby("teacher_seed")["test_accuracy"].mean())
            line[f"{panel}, over students"] = value_text(rows["test_accuracy"])
        lines.append(line)
    return pd.DataFrame(lines).fillna("not run")
