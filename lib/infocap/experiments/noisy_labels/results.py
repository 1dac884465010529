"""Which rows of ``noisy_labels/training`` belong together, and which hyper-parameter does noisy validation choose?

Selections and reductions that chapters and claims share. Rows are those of a table, or what ``also`` returns for a
reader's own method. Information is in nats per training label.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from infocap import data
from infocap.experiments.noisy_labels.methods import METHODS
from infocap.experiments.noisy_labels.training import Cell
from infocap.information import memorized_information, minimum_error_rate
from infocap.study.book import Book
from infocap.study.tables import NotRun, Table, summarize, value_text

__all__ = [
    "at_the_end", "best", "best_label", "chosen", "comparison", "coverage", "detection", "histories", "in_lines",
    "labelled", "main", "middle", "options", "panel", "ranking_text", "report", "runs", "setting_text", "settings",
    "suspicious", "value_text",
]  # fmt: skip

COLUMNS = {
    "final_accuracy": "last epoch",
    "selected_accuracy": "selected",
    "peak_accuracy": "peak (oracle)",
    "memorized_fraction": "memorized fraction",
    "memorized_information": "memorized nats",
    "auc": "area",
}  # of a report
_OPTIONS = {"noise_std": 0.0, "warm_up": 0, "initialized": False}  # LIMIT's, with their values when off


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Adds two columns: ``label``, a method with its hyper-parameters; ``family``, without those that are chosen.

    Example:
        >>> row = {"method": "LIMIT Laplace", "beta": 3.0, "dropout": 0.5, "warm_up": 0, "initialized": False}
        >>> row |= {"learning_rate": 1e-3, "weight_decay": 0.0, "noise_std": 0.0, "noise_kind": "gaussian"}
        >>> labelled(pd.DataFrame([row]))[["label", "family"]].values.tolist()
        [['LIMIT Laplace, β=3, dropout 0.5', 'LIMIT Laplace, dropout']]
    """
    names = pd.DataFrame(map(_names, rows.to_dict("records")), index=rows.index, columns=["label", "family"])
    return rows.assign(**names)


def _names(row: dict[str, Any]) -> tuple[str, str]:
    method, noise = row["method"], f"{row['noise_kind'].capitalize()} gradient noise"
    if method.startswith("LIMIT"):
        noise = "sampled"
    shows = METHODS[method].shows if method in METHODS else {}  # a reader's own has none
    slow = "small steps" if method == "cross-entropy" and row["learning_rate"] < 1e-3 else ""
    controls = [  # is it on, its name, its name with the number
        (row["learning_rate"] != 1e-3, slow, f"lr {row['learning_rate']:g}"),
        (row["dropout"] > 0, "dropout", f"dropout {row['dropout']:g}"),
        (row["weight_decay"] > 0, "weight decay", f"weight decay {row['weight_decay']:g}"),
        (row["noise_std"] > 0, noise, f"{noise} {row['noise_std']:g}"),
        (row["warm_up"] > 0, "warm-up", f"warm-up {row['warm_up']}"),
        (row["initialized"], "initialized", "initialized"),
    ]
    label = [method, *(f"{symbol}={row[name]:g}" for name, symbol in shows.items())]
    label += [numbered for on, _, numbered in controls if on]
    return ", ".join(label), ", ".join([method, *(name for on, name, _ in controls if on and name)])


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


def settings(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each size and noise rate, with a title if there are several."""
    parts = list(rows.groupby(["n", "rate"], sort=False))
    return [(f"n = {n:,}, noise rate {rate:g}" if len(parts) > 1 else "", part) for (n, rate), part in parts]


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


def best_label(rows: pd.DataFrame) -> str:
    """The variant with the best mean accuracy on noisy validation labels at the end.

    No clean label and no test data takes part in the choice.
    """
    return rows.groupby("label", sort=False)["final_validation_accuracy"].mean().idxmax()


def chosen(rows: pd.DataFrame, method: str) -> pd.DataFrame:
    """The runs of one method's best variant, as ``best_label`` says."""
    variants = rows[rows["method"] == method]
    if variants.empty:
        raise NotRun(f"no run of {method}")
    return variants[variants["label"] == best_label(variants)]


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The same choice for every family, size and noise rate: one variant of each, all its runs.

    Args:
        rows: From ``panel``.

    Returns:
        The kept rows, in the order in which families first appear.
    """
    parts = [part for _, part in rows.groupby(["n", "rate", "family"], sort=False)]
    return pd.concat([part[part["label"] == best_label(part)] for part in parts], ignore_index=True)


def options(rows: pd.DataFrame) -> pd.DataFrame:
    """LIMIT's options, each beside the run without it: the same hyper-parameters, the option off.

    Args:
        rows: From ``panel``.

    Returns:
        For each size, noise rate and option the variant that noisy validation chooses, and what it changes.

    Raises:
        NotRun: A run without the option is missing.
    """
    limit = rows[rows["method"].str.startswith("LIMIT")]
    off = (limit[list(_OPTIONS)] == list(_OPTIONS.values())).all(axis=1)
    same = ["n", "rate", "method", "beta", "learning_rate", "weight_decay", "dropout"]
    kept = best(limit[~off])
    without = limit[off].merge(kept[same].drop_duplicates(), on=same)
    alone = kept[same].drop_duplicates().merge(without[same].drop_duplicates(), on=same, how="left", indicator=True)
    if (alone["_merge"] == "left_only").any():
        lacks = alone[alone["_merge"] == "left_only"].iloc[0]
        raise NotRun(f"no run of {lacks['method']} at beta {lacks['beta']:g} without its option")
    return pd.concat([without, kept], ignore_index=True)


def ranking_text(rows: pd.DataFrame, value: str, count: int = 3) -> str:
    """The methods with the largest means, as a list in a sentence."""
    means = rows.groupby("label")[value].mean().sort_values(ascending=False, kind="stable").head(count)
    return ", ".join(f"{name} ({mean:.3f})" for name, mean in means.items())


def in_lines(label: str, width: int = 21) -> str:
    """A label as figures print it, in lines that break after commas.

    Example:
        >>> in_lines("cross-entropy, Laplace gradient noise 0.03").splitlines()
        ['cross-entropy,', 'Laplace noise 0.03']
    """
    lines = [""]
    for part in label.replace(" gradient noise", " noise").split(", "):
        if lines == [""]:
            lines = [part]
        elif len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines[-1] += ","
            lines.append(part)
    return "\n".join(lines)


def report(*rows: pd.DataFrame, columns: Mapping[str, str] = COLUMNS) -> pd.DataFrame:
    """A table to read: one line per method, means with intervals, the best first column on top.

    Args:
        *rows: From ``panel``, ``best`` or ``chosen``, or from ``also``.
        columns: Result column to heading.

    Returns:
        Strings; data, networks, sizes and noise rates have columns of their own if there are several. A break of the
        line can only come between the mean and its interval.

    Raises:
        ValueError: Two methods, networks or data sets have one name, so that their runs would be averaged.
    """
    rows = labelled(pd.concat(rows, ignore_index=True))
    by = [name for name in ("data", "network", "n", "rate") if rows[name].nunique() > 1] + ["label"]
    if (twice := rows.duplicated([*by, "data_seed"])).any():  # such as two functions that a notebook calls alike
        raise ValueError(f"rows: two runs of {rows.loc[twice, 'label'].iloc[0]!r} with one seed; accepted: other names")
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


def suspicious(table: Table, row: int, count: int = 12) -> pd.DataFrame:
    """The training images whose given label is farthest from the auxiliary prediction, the worst first.

    Args:
        table: ``noisy_labels/training``.
        row: Number of the run in it, column ``row`` of ``panel``.
        count: How many images, at most.

    Returns:
        ``image``, its number among the training images of the data; ``given`` and ``true``, names of classes.
    """
    arrays, names = table.arrays[row], data.class_names(table.frame["data"].iloc[row])
    worst = (-arrays["score"]).argsort(kind="stable")[:count]
    labels = {"given": arrays["noisy_labels"][worst], "true": arrays["clean_labels"][worst]}
    classes = {name: [names[label] for label in found] for name, found in labels.items()}
    return pd.DataFrame({"image": arrays["rows"][worst]} | classes)


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


def setting_text(rows: pd.DataFrame) -> str:
    """What was trained, as one sentence in Markdown."""
    first, layers = rows.iloc[0], ", ".join(map(str, rows["widths"].iloc[0]))
    sizes, rates = (" and ".join(f"{value:,}" for value in rows[name].unique()) for name in ("n", "rate"))
    seeds, methods = rows["data_seed"].nunique(), len(labelled(rows)["label"].unique())
    return (
        f"{sizes} training images of {first['data']}, {first['noise']} noise of rate {rates}, network "
        f"`{first['network']}`{f' with hidden layers of {layers}' if layers else ''}, {first['epochs']} epochs of Adam "
        f"with batches of {first['batch_size']}, {methods} variants of methods, {seeds} seed{'s' if seeds > 1 else ''} "
        f"each, tested on {first['test_size']:,} clean images."
    )


def histories(*rows: pd.DataFrame) -> pd.DataFrame:
    """Runs along training: one row per run and measured epoch.

    Beside the measured curves there are two estimates of the memorized information, in nats per label: ``by_errors``
    from the training error (Fano, inverted), ``by_loss`` from the cross-entropy, clipped at 0. ``ignorant_error`` is
    the least error rate of a learner that stores nothing.

    Args:
        *rows: From ``panel`` or ``also``.
    """
    parts = []
    for run in labelled(pd.concat(rows, ignore_index=True)).to_dict("records"):
        part = pd.DataFrame(run["history"])
        classes, entropy = len(data.class_names(run["data"])), run["noise_entropy"]
        part["by_errors"] = memorized_information(entropy, part["train_error"].tolist(), classes).numpy()
        part["ignorant_error"] = float(minimum_error_rate(entropy, 0.0, classes))
        part["by_loss"] = (entropy - part["train_loss"]).clip(lower=0)
        fields = ("label", "family", "data", "network", "n", "rate", "data_seed", "noise_entropy")
        parts.append(part.assign(**{name: run[name] for name in fields}))
    return pd.concat(parts, ignore_index=True)


def at_the_end(history: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of ``histories``, means over runs: one row per method, data set and network."""
    last = history[history["epoch"] == history["epoch"].max()]
    columns = {
        "train_error": "training error",
        "by_errors": "nats by errors",
        "by_loss": "nats by loss",
        "test_accuracy": "test accuracy",
    }
    by = ["label", *(name for name in ("data", "network") if last[name].nunique() > 1)]
    means = summarize(last, by, list(columns))
    return means[[*by, *columns, "runs"]].rename(columns=columns | {"label": "method"})


def comparison(history: pd.DataFrame) -> pd.DataFrame:
    """The paper's message for the panel ``memorization``, and the numbers of the last epoch that belong to it.

    The best run of a kind is the one with the smallest estimate from the training error. Single runs decide nothing,
    so no verdict stands beside them; the claims do that, on several seeds.

    Returns:
        Columns ``statement`` and ``measured``, both text.
    """
    kinds = history["family"].str.removeprefix("cross-entropy, ")
    kinds = kinds.mask(kinds.str.startswith("LIMIT"), "LIMIT")
    history = history.assign(kind=kinds, share=history["by_errors"] / history["noise_entropy"])
    curves = history.groupby(["kind", "label", "epoch"], sort=False)[["share", "test_accuracy"]].mean().reset_index()
    end = curves[curves["epoch"] == curves["epoch"].max()].sort_values("share").groupby("kind").first()
    share = {kind: f"{100 * value:.0f} %" for kind, value in end["share"].items()}
    rows = []
    if "cross-entropy" in share:
        rows.append(("Cross-entropy stores nearly all of the noise.", f"at least {share['cross-entropy']}"))
    if "LIMIT" in share:
        for kind in (kind for kind in ("dropout", "weight decay") if kind in share):
            measured = f"at least {share[kind]} against {share['LIMIT']}"
            rows.append((f"The best {kind} stores more than the best LIMIT.", measured))
        accuracy = curves.loc[curves["label"] == end["label"]["LIMIT"], "test_accuracy"]
        measured = f"test accuracy {accuracy.iloc[-1]:.2f} at the end, {accuracy.max():.2f} at its best"
        rows.append(("The best LIMIT ends near its highest test accuracy.", measured))
    return pd.DataFrame(rows, columns=["statement", "measured"])
