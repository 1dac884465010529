"""Which rows of ``noisy_labels/training`` belong together, and which hyper-parameter does noisy validation choose?"""

import json
from typing import Any

import pandas as pd

from infocap.experiments.noisy_labels import training
from infocap.study.cells import fields
from infocap.study.claims import NotRun
from infocap.study.tables import Table, summarize

__all__ = ["METHOD_NAMES", "by_method", "chosen", "label", "panel", "runs"]

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

_IDENTITY = ["method", "label", "n", "rate"]


def label(row: Any) -> str:
    """A method with its hyper-parameters, as figures and tables print it."""
    kind = "Laplace" if row["noise_kind"] == "laplace" else "Gaussian"
    limit = row["method"].startswith("limit")
    extras = {
        f"β={row['beta']:g}": limit,
        f"λ={row['lam']:g}": row["method"] == "soft_penalty",
        f"lr {row['learning_rate']:g}": row["learning_rate"] != 1e-3,
        f"dropout {row['dropout']:g}": row["dropout"] > 0,
        f"weight decay {row['weight_decay']:g}": row["weight_decay"] > 0,
        f"{kind} gradient noise {row['noise_std']:g}": row["noise_std"] > 0 and not limit,
        f"sampled {row['noise_std']:g}": row["noise_std"] > 0 and limit,
        f"warm-up {row['warm_up']}": row["warm_up"] > 0,
        "initialized": row["initialized"],
    }
    return ", ".join([METHOD_NAMES[row["method"]], *(text for text, shown in extras.items() if shown)])


def panel(table: Table, profile: Any, name: str) -> pd.DataFrame:
    """The rows of one panel, with a column ``label`` and the row's number in the table as ``row``.

    Raises:
        NotRun: The panel has no cells in this profile, or some have not been computed.
    """
    wanted = [_text(fields(cell)) for cell in training.panel_cells(profile, name)]
    names = [field for field in training.Cell.__dataclass_fields__]
    frame = table.frame.assign(row=range(len(table.frame)))
    present = {_text({n: row[n] for n in names}): i for i, row in enumerate(frame.to_dict("records"))}
    missing = sum(text not in present for text in wanted)
    if missing or not wanted:
        raise NotRun(f"panel {name}: {missing} of {len(wanted)} trainings were not run" if wanted else f"panel {name}")
    rows = frame.iloc[[present[text] for text in wanted]].reset_index(drop=True)
    return rows.assign(label=[label(row) for row in rows.to_dict("records")])


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


def by_method(rows: pd.DataFrame, values: list[str]) -> pd.DataFrame:
    """Means and intervals over seeds, one row per method, size and rate."""
    return summarize(rows, _IDENTITY, values)


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


def _text(content: dict[str, Any]) -> str:
    content = {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}
    return json.dumps(
        {n: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for n, v in content.items()}
    )
