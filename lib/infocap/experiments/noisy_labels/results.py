"""Which rows of ``noisy_labels/training`` belong together, and which hyper-parameter does noisy validation choose?"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from infocap import data
from infocap.experiments.noisy_labels import training
from infocap.experiments.profiles import load_profile
from infocap.study.cells import fields, key
from infocap.study.claims import NotRun
from infocap.study.store import Store
from infocap.study.tables import Table, value_text

__all__ = [
    "METHOD_NAMES", "best", "chosen", "coverage", "detection", "family", "label", "panel",
    "ranking_text", "report", "runs", "value_text",
]  # fmt: skip

METHOD_NAMES = {
    "cross_entropy": "cross-entropy",
    "mae": "MAE",
    "gce": "GCE",
    "forward_true": "forward, true T",
    "forward_estimated": "forward, estimated T",
    "dmi": "DMI",
    "soft_penalty": "soft penalty",
    "limit_gaussian": "LIMIT Gaussian",
    "limit_laplace": "LIMIT Laplace",
    "elr": "ELR",
    "co_teaching": "co-teaching",
    "cleanlab": "cleanlab, pruned",
}


def label(row: Any) -> str:
    """A method with its hyper-parameters, as figures and tables print it."""
    kind = "Laplace" if row["noise_kind"] == "laplace" else "Gaussian"
    limit = row["method"].startswith("limit")
    extras = {
        f"λ={row['lam']:g}": row["method"] == "soft_penalty",
        f"β={row['beta']:g}": limit or row["method"] == "soft_penalty",
        f"lr {row['learning_rate']:g}": row["learning_rate"] != 1e-3,
        f"dropout {row['dropout']:g}": row["dropout"] > 0,
        f"weight decay {row['weight_decay']:g}": row["weight_decay"] > 0,
        f"{kind} gradient noise {row['noise_std']:g}": row["noise_std"] > 0 and not limit,
        f"sampled {row['noise_std']:g}": row["noise_std"] > 0 and limit,
        f"warm-up {row['warm_up']}": row["warm_up"] > 0,
        "initialized": row["initialized"],
    }
    return ", ".join([METHOD_NAMES[row["method"]], *(text for text, shown in extras.items() if shown)])


def family(row: Any) -> str:
    """A method and its control, without the hyper-parameters that noisy validation chooses."""
    kind = "Laplace" if row["noise_kind"] == "laplace" else "Gaussian"
    limit = row["method"].startswith("limit")
    extras = {
        "small steps": row["method"] == "cross_entropy" and row["learning_rate"] < 1e-3,
        "dropout": row["dropout"] > 0,
        "weight decay": row["weight_decay"] > 0,
        f"{kind} gradient noise": row["noise_std"] > 0 and not limit,
        "sampled": row["noise_std"] > 0 and limit,
        "warm-up": row["warm_up"] > 0,
        "initialized": row["initialized"],
    }
    return ", ".join([METHOD_NAMES[row["method"]], *(text for text, shown in extras.items() if shown)])


def panel(table: Table, profile: Any, name: str) -> pd.DataFrame:
    """The rows of one panel, with columns ``label`` and ``family``, and the row's number in the table as ``row``.

    Raises:
        NotRun: The panel has no cells in this profile, or some have not been computed.
    """
    wanted = [_text(fields(cell)) for cell in training.panel_cells(profile, name)]
    names = list(training.Cell.__dataclass_fields__)
    frame = table.frame.assign(row=range(len(table.frame)))
    present = {_text({n: row[n] for n in names}): i for i, row in enumerate(frame.to_dict("records"))}
    missing = sum(text not in present for text in wanted)
    if missing or not wanted:
        raise NotRun(f"panel {name}: {missing} of {len(wanted)} trainings were not run" if wanted else f"panel {name}")
    rows = frame.iloc[[present[text] for text in wanted]].reset_index(drop=True)
    records = rows.to_dict("records")
    return rows.assign(label=[label(row) for row in records], family=[family(row) for row in records])


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
        "LIMIT Laplace": ("limit_laplace", ""),
        "LIMIT Gaussian": ("limit_gaussian", ""),
        "cross-entropy, at the end": ("cross_entropy", ""),
        "cross-entropy, stopped early": ("cross_entropy", "_selected"),
        "cleanlab, out of sample": ("cleanlab", ""),
    }
    parts = []
    for scorer, (method, suffix) in scorers.items():
        part = rows[rows["family"] == METHOD_NAMES[method]]
        values = {name: part[f"{name}{suffix}"] for name in ("auc", "precision_at_100")}
        parts.append(part[["n", "rate", "data_seed"]].assign(scorer=scorer, **values))
    return pd.concat(parts, ignore_index=True)


def coverage(store: Store | str | None, profile: Any) -> pd.DataFrame:
    """What the thesis' own scale asks for, and how much of it the store holds.

    Args:
        store: The store, its folder, or ``None`` for the user's cache.
        profile: The profile of the page, which may run smaller versions of the panels.

    Returns:
        One row per panel of the ``full`` profile: its settings, its trainings, how many of them were computed so far,
        and whether this profile runs a smaller version of it.

    Cost: a second; every cell of the ``full`` profile is looked up.
    """
    store = store if isinstance(store, Store) else Store(store)
    full = profile if profile.name == "full" else load_profile("full")
    rows = []
    for name in type(full.noisy_labels).model_fields:
        settings, here = getattr(full.noisy_labels, name), training.panel_cells(profile, name)
        cells = training.panel_cells(full, name)
        try:
            checksum = data.checksum(settings.data)
            computed = sum(key(cell, checksum) in store for cell in cells)
        except ValueError:  # an image folder that is not there
            computed = 0
        if computed == len(cells):
            status = "run"
        elif computed:
            status = "partly run"
        elif here and profile.name != full.name:
            status = "smaller version run" + (f", on {here[0].data}" if here[0].data != settings.data else "")
        else:
            status = "not run in this profile"
        rows.append(
            {
                "panel": name.replace("_", " "),
                "data": settings.data.removeprefix("folder:"),
                "network": settings.network,
                "n": ", ".join(f"{n:,}" for n in settings.sizes),
                "noise": "real" if settings.data.startswith("folder:") else settings.noise,
                "rates": ", ".join(f"{rate:g}" for rate in settings.rates),
                "methods": len(settings.methods),
                "seeds": len(settings.seeds),
                "trainings": len(cells),
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


def _text(content: dict[str, Any]) -> str:
    content = {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}
    return json.dumps(
        {n: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for n, v in content.items()}
    )
