"""Which rows of a finished run does the book keep, and which columns of them?

``python -m infocap.experiments.kept`` writes the rows of all finished cells of a profile, and the verdicts of all
claims, to ``book/results/<profile>``; what the store does not hold stays as it was stored. Rows of ``full`` are
thousands, some of them large, so of some tables they are reduced to what the chapters draw beside their own; rows of
``evidence``, on which verdicts rest, are whole.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.generalization.results import finished_sizes
from infocap.experiments.sample_information.results import last_step
from infocap.study.keep import keep
from infocap.study.store import Store
from infocap.study.tables import Table

__all__ = ["REDUCED"]


def _scalars(table: Table) -> pd.DataFrame:
    """Without columns that hold many numbers for each cell; classes and widths name the task."""
    many = table.frame.map(lambda value: isinstance(value, list | tuple | dict)).any()
    return table.frame.loc[:, ~many | many.index.isin(["classes", "widths"])]


REDUCED: dict[str, Callable[[Table], pd.DataFrame]] = {  # of the profile full; one row per cell, with the table's index
    "noisy_labels/training": _scalars,
    "sample_information/detection": _scalars,
    "sample_information/dynamics": last_step,
    "generalization/training": finished_sizes,
}


def main(
    profile: Annotated[str, typer.Option(help="smoke, quick, evidence or full")] = "full",
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="repeatable")] = None,
    store: Annotated[str | None, typer.Option(help="folder of the store; default: the user's cache")] = None,
    folder: Annotated[Path | None, typer.Option(help="receives the files; default: book/results/<profile>")] = None,
) -> None:
    """Writes the rows and verdicts of the cells that the store holds; computes nothing."""
    chosen = CATALOGUE.load_profile(profile, settings or [])
    reduced = REDUCED if profile == "full" else {}
    for file in keep(CATALOGUE, chosen, Store(store), folder or Path("book/results") / profile, reduced):
        print(f"{file}: {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
