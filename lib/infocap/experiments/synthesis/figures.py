"""The figures of book/synthesis/one_picture.ipynb.

Figure functions take a table and return a figure. Bars are 95 % intervals of means over supersamples.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from infocap.experiments.synthesis import measures
from infocap.experiments.synthesis.results import FOUR, NAMES, correlations, correlations_with, examples
from infocap.study.claims import NotRun
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, interval

__all__ = ["agreement", "chain_of_informations", "portraits", "prediction"]

_LINES = {
    "sample": ("SI against the left-out learner", "P:", PALETTE[3]),
    "unique": ("unique information", "o-", PALETTE[3]),
    "total": ("hypothesis and training set", "s-", PALETTE[0]),
    "label": ("hypothesis and labels", "D--", PALETTE[1]),
    "cmi": ("CMI", "^-", PALETTE[2]),
    "row_f": ("f-CMI of single rows", "v--", PALETTE[4]),
}
_SHORT = {"limit": "LIMIT", "f_si": "F-SI", "f_cmi": "f-CMI", "complexity": "complexity"}
_CLASSES = {2: "pullover", 4: "coat", 6: "shirt"}  # of Fashion-MNIST, as the panels use it


@styled
def chain_of_informations(table: Table) -> plt.Figure:
    """The Gibbs learner, exactly: nats per example against how strongly it follows its training set."""
    frame = table.frame[table.frame["learner"] == "gibbs"]
    if frame.empty:
        raise NotRun("the Gibbs learner was not run")
    frame = frame[frame["n"] == frame["n"].max()].sort_values("strength")
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    for name, (label, style, colour) in _LINES.items():
        axes.plot(frame["strength"], frame[name], style, color=colour, label=label, markersize=5)
    axes.set(xlabel="strength of the learner", ylabel="nats per example", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, n = {int(frame['n'].iloc[0])}, exact")
    return figure


@styled
def agreement(table: Table) -> plt.Figure:
    """Rank correlations over rows, means over supersamples: clean labels below the diagonal, noisy above."""
    order = list(NAMES)
    means = {
        name: correlations(table, name).groupby("measure").mean().loc[order, order].to_numpy()
        for name in ("clean", "noisy")
    }
    matrix = np.where(np.tri(len(order), k=-1, dtype=bool), means["clean"], means["noisy"])
    np.fill_diagonal(matrix, np.nan)
    figure, axes = plt.subplots(figsize=(WIDTH, 4.9))
    names = [NAMES[key] for key in order]
    sns.heatmap(
        matrix, vmin=-1, vmax=1, cmap="vlag", annot=100 * matrix, fmt=".0f", square=True, linewidths=0.5, cbar=False,
        xticklabels=names, yticklabels=names, annot_kws={"fontsize": 8}, ax=axes,
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.grid(False)
    plt.setp(axes.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    note(figure, f"{table.profile} profile, hundredths; {_count(table)}")
    return figure


@styled
def prediction(table: Table) -> plt.Figure:
    """Rank correlation of each measure with the held-out share of the gap, best on clean labels first."""
    frames = {name: correlations_with(table, name) for name in ("clean", "noisy")}
    order = frames["clean"].mean().sort_values(ascending=False, na_position="last").index
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9))
    styles = {"clean": ("o", PALETTE[0], 0.14), "noisy": ("s", PALETTE[1], -0.14)}
    for name, (marker, colour, shift) in styles.items():
        for place, key in enumerate(order):
            values = frames[name][key]
            low, high = interval(values)
            bar = ([values.mean() - low], [high - values.mean()]) if len(values) > 1 else None
            axes.errorbar(
                [values.mean()], [len(order) - 1 - place + shift], xerr=bar, fmt=marker, color=colour, capsize=3,
                markersize=5, label=f"{name} labels" if place == 0 else None,
            )  # fmt: skip
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(order)), [NAMES[key] for key in reversed(order)])
    axes.set(xlabel="rank correlation with the share of the gap")
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, {_count(table)}")
    return figure


@styled
def portraits(table: Table, name: str = "clean", count: int = 5) -> plt.Figure:
    """Images of the first supersample: high in all four measures, low in all, and on which they disagree most.

    Below each image its place in the ranking by each measure, from 0 (lowest) to 1 (highest).
    """
    place = table.panel(name).index[0]
    frame = examples(table, place)
    ranks = frame[list(FOUR)].rank(pct=True)
    spread = ranks.max(axis=1) - ranks.min(axis=1)
    chosen = {
        "high in all": ranks.min(axis=1).nlargest(count).index,
        "low in all": ranks.max(axis=1).nsmallest(count).index,
        "they disagree": spread.nlargest(count).index,
    }
    cell = table.cells(name)[0]
    images = measures.pictures(cell).flatten(0, 1).numpy()
    figure = plt.figure(figsize=(WIDTH, 6.9))
    for part, (title, rows) in zip(figure.subfigures(3, 1), chosen.items(), strict=True):
        part.suptitle(title, fontsize="medium", fontweight="bold", ha="left", x=0.02)
        grid = part.subplots(2, count, height_ratios=[2, 1.3])
        for column, row in enumerate(rows):
            above, below = grid[:, column]
            above.imshow(images[row], cmap="gray_r")
            kind = cell.classes[int(frame["label"][row])]
            above.set_title(_CLASSES.get(kind, f"class {kind}"), fontsize=8, pad=3)
            above.axis("off")
            below.barh(range(len(FOUR)), ranks.loc[row], color=[PALETTE[k] for k in range(len(FOUR))])
            below.set(xlim=(0, 1), xticks=[0, 1], yticks=range(len(FOUR)))
            below.set_yticklabels([_SHORT[key] for key in FOUR] if column == 0 else [], fontsize=7)
            below.tick_params(labelsize=7, length=0)
            below.invert_yaxis()
            below.grid(False)
    note(figure, f"{table.profile} profile, {name} labels, one supersample of {len(frame)} images")
    return figure


def _count(table: Table) -> str:
    found: pd.DataFrame = table.panel("clean")
    return f"{len(found)} supersamples of {int(found['n'].iloc[0])} rows"
