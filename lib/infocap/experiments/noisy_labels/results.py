"""Which rows of ``noisy_labels/training`` belong together, and which hyper-parameter does noisy validation choose?"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infocap.experiments.noisy_labels.methods import METHODS
from infocap.experiments.noisy_labels.training import Cell
from infocap.study.book import Book
from infocap.study.tables import NotRun, Table, value_text

__all__ = [
    "best", "chosen", "coverage", "detection", "family", "label", "labelled", "main", "middle", "panel",
    "ranking_text", "report", "runs", "value_text",
]  # fmt: skip


def label(row: Any) -> str:
    """A method with its hyper-parameters, as figures and tables print it."""
    kind, limit = _kind(row), row["method"].startswith("LIMIT")
    shows = METHODS[row["method"]].shows if row["method"] in METHODS else {}  # a reader's own has none
    extras = {f"{symbol}={row[name]:g}": True for name, symbol in shows.items()} | {
        f"lr {row['learning_rate']:g}": row["learning_rate"] != 1e-3,
        f"dropout {row['dropout']:g}": row["dropout"] > 0,
        f"weight decay {row['weight_decay']:g}": row["weight_decay"] > 0,
        f"{kind} gradient noise {row['noise_std']:g}": row["noise_std"] > 0 and not limit,
        f"sampled {row['noise_std']:g}": row["noise_std"] > 0 and limit,
        f"warm-up {row['warm_up']}": row["warm_up"] > 0,
        "initialized": row["initialized"],
    }
    return ", ".join([row["method"], *(text for text, shown in extras.items() if shown)])


def family(row: Any) -> str:
    """A method and its control, without the hyper-parameters that noisy validation chooses."""
    kind, limit = _kind(row), row["method"].startswith("LIMIT")
    extras = {
        "small steps": row["method"] == "cross-entropy" and row["learning_rate"] < 1e-3,
        "dropout": row["dropout"] > 0,
        "weight decay": row["weight_decay"] > 0,
        f"{kind} gradient noise": row["noise_std"] > 0 and not limit,
        "sampled": row["noise_std"] > 0 and limit,
        "warm-up": row["warm_up"] > 0,
        "initialized": row["initialized"],
    }
    return ", ".join([row["method"], *(text for text, shown in extras.items() if shown)])


def _kind(row: Any) -> str:
    return "Laplace" if row["noise_kind"] == "laplace" else "Gaussian"


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with columns ``label`` and ``family``: of a panel, stored ones, or those of a reader's own method."""
    records = rows.to_dict("records")
    return rows.assign(label=[label(row) for row in records], family=[family(row) for row in records])


def panel(table: Table, name: str) -> pd.DataFrame:
    """The rows of one panel, with columns ``label`` and ``family``, and the row's number in the table as ``row``.

    Raises:
        NotRun: The panel is not in this profile, or some of its cells have not been run.
    """
    rows = labelled(table.panel(name))
    return rows.assign(row=rows.index).reset_index(drop=True)


def main(table: Table) -> pd.DataFrame:
    """The main setting: panel ``main`` at rate .5 and the middle size."""
    return middle(panel(table, "main"), rate=0.5)


def middle(rows: pd.DataFrame, rate: float | None = None) -> pd.DataFrame:
    """The rows of the middle size, and of one noise rate."""
    sizes = sorted(rows["n"].unique())
    rows = rows[rows["n"] == sizes[len(sizes) // 2]]
    rows = rows if rate is None else rows[rows["rate"] == rate]
    if rows.empty:
        raise NotRun(f"no run at rate {rate}")
    return rows


def runs(rows: pd.DataFrame, value: str, **where: Any) -> list[float]:
    """One column for the runs of one method, in the order of seeds, so that two methods can be paired.

    Raises:
        NotRun: No such rows.
    """
    for column, wanted in where.items():
        rows = rows[rows[column] == wanted]
    if rows.empty:
        raise NotRun(f"no run with {where}")
    return rows.sort_values("data_seed")[value].astype(float).tolist()


def chosen(rows: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Of each method's variants, the runs of the one with the best mean accuracy on noisy validation labels at the end.

    No clean label and no test data takes part in the choice.
    """
    kept = []
    for method in methods:
        variants = rows[rows["method"] == method]
        if variants.empty:
            raise NotRun(f"no run of {method}")
        score = variants.groupby("label", sort=False)["final_validation_accuracy"].mean()
        kept.append(variants[variants["label"] == score.idxmax()])
    return pd.concat(kept, ignore_index=True)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The same choice for every family, size and noise rate: one variant of each, all its runs.

    Args:
        rows: From ``panel``.

    Returns:
        The kept rows, in the order in which families first appear.
    """
    kept = []
    for _, variants in rows.groupby(["n", "rate", "family"], sort=False):
        score = variants.groupby("label", sort=False)["final_validation_accuracy"].mean()
        kept.append(variants[variants["label"] == score.idxmax()])
    return pd.concat(kept, ignore_index=True)


def ranking_text(rows: pd.DataFrame, value: str, count: int = 3) -> str:
    """The methods with the largest means, as a list in a sentence."""
    means = rows.groupby("label")[value].mean().sort_values(ascending=False, kind="stable").head(count)
    return ", ".join(f"{name} ({mean:.3f})" for name, mean in means.items())


def report(rows: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A table to read: one line per method, means with intervals, the best first column on top.

    Args:
        rows: From ``panel``, ``best`` or ``chosen``.
        columns: Result column to heading.

    Returns:
        Strings; sizes and noise rates have columns of their own if there are several. A break of the line can only
        come between the mean and its interval.
    """
    by = [name for name in ("n", "rate") if rows[name].nunique() > 1] + ["label"]
    lines = [
        dict(zip(by, group, strict=True))
        | {heading: value_text(part[column]) for column, heading in columns.items()}
        | {"order": -part[next(iter(columns))].mean()}
        for group, part in rows.groupby(by, sort=False)
    ]
    frame = pd.DataFrame(lines).sort_values([*by[:-1], "order"]).drop(columns="order")
    frame["label"] = [", ".join(_kept_together(part) for part in name.split(", ")) for name in frame["label"]]
    return frame.rename(columns={"label": "method", "rate": "noise rate"})


def detection(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per run and way to score suspicious labels: ``scorer``, ``auc``, ``precision_at_100``, ``data_seed``.

    Args:
        rows: The runs of one setting, from ``best``: LIMIT's, plain cross-entropy's and cleanlab's are used.
    """
    scorers = {
        "LIMIT Laplace": ("LIMIT Laplace", ""),
        "LIMIT Gaussian": ("LIMIT Gaussian", ""),
        "cross-entropy, at the end": ("cross-entropy", ""),
        "cross-entropy, stopped early": ("cross-entropy", "_selected"),
        "cleanlab, out of sample": ("cleanlab, pruned", ""),
    }
    parts = []
    for scorer, (method, suffix) in scorers.items():
        part = rows[rows["family"] == method]
        values = {name: part[f"{name}{suffix}"] for name in ("auc", "precision_at_100")}
        parts.append(part[["n", "rate", "data_seed"]].assign(scorer=scorer, **values))
    return pd.concat(parts, ignore_index=True)


def coverage(book: Book) -> pd.DataFrame:
    """What the thesis' own scale asks for, and how much of it the store holds.

    Returns:
        One row per panel of the ``full`` profile: its settings, its trainings, how many of them were computed so far,
        and whether this profile runs a smaller version of it.

    Cost: a second; every cell of the ``full`` profile is looked up.
    """
    name, full = "noisy_labels/training", book.catalogue.load_profile("full")
    keys = {task.cell: task.key for task in book.catalogue.work(name, full)}
    here, rows = book.profile.panels[name], []
    for panel, one in full.panels[name].items():
        first, computed = one.cells[0], sum(bool(keys[cell]) and keys[cell] in book.store for cell in one.cells)

        def several(field: str, form: str, cells: Sequence[Cell] = one.cells) -> str:
            return ", ".join(format(value, form) for value in dict.fromkeys(getattr(cell, field) for cell in cells))

        if computed == len(one.cells):
            status = "run"
        elif computed:
            status = "partly run"
        elif panel in here and book.profile.name != full.name:
            data = here[panel].cells[0].data
            status = "smaller version run" + (f", on {data}" if data != first.data else "")
        else:
            status = "not run in this profile"
        seeds = len({cell.data_seed for cell in one.cells})
        settings = len({(cell.n, cell.rate) for cell in one.cells})
        rows.append(
            {
                "panel": panel.replace("_", " "),
                "data": first.data.removeprefix("folder:"),
                "network": first.network,
                "n": several("n", ","),
                "noise": "real" if first.data.startswith("folder:") else first.noise,
                "rates": several("rate", "g"),
                "methods": len(one.cells) // (seeds * settings),
                "seeds": seeds,
                "trainings": len(one.cells),
                "computed so far": computed,
                "status": status,
            }
        )
    return pd.DataFrame(rows)


def _kept_together(words: str) -> str:
    """The words with spaces and hyphens that do not break a line, if they are short."""
    if len(words) > 16:
        return words
    return words.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{NON-BREAKING HYPHEN}")
