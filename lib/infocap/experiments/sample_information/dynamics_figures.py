"""The figures and numbers of book/sample_information/linearized_training.ipynb.

Figure functions take the table ``sample_information/dynamics`` and return a figure: dots are the real network, lines
its linearization in closed form.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from infocap.experiments.sample_information.dynamics import MODES
from infocap.experiments.sample_information.results import runs
from infocap.study.style import PALETTE, WIDTH, note, styled
from infocap.study.tables import Table, interval

__all__ = ["losses", "modes", "predictions", "rates", "what_is_fitted"]

_DOTS = {"marker": "o", "linestyle": "", "markersize": 3.5}


@styled
def predictions(table: Table) -> plt.Figure:
    """The outputs at some evaluation inputs along training, narrowest network above, widest below."""
    rows = _first_seed(table)
    figure, panels = plt.subplots(2, 1, figsize=(WIDTH, 5.6), sharex=True, sharey=True)
    for axes, row in zip(panels, (rows[0], rows[-1]), strict=True):
        both = zip(row["real_predictions"], row["linear_predictions"], strict=True)
        for place, (real, linear) in enumerate(both):
            axes.plot(row["at"], linear, color=PALETTE[place])
            axes.plot(row["at"], real, color=PALETTE[place], **_DOTS)
        axes.set(title=f"{row['width']} hidden units", ylabel="output")
    panels[1].set_xlabel("steps of gradient descent")
    _steps(panels[1], rows[0]["at"])
    figure.legend(handles=_key(), loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile, seed {rows[0]['seed']}; a colour is one evaluation input")
    return figure


@styled
def losses(table: Table) -> plt.Figure:
    """Training loss (above) and the distance of the predictions from the closed form (below), for each width."""
    rows = runs(table)
    figure, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 6.4), sharex=True)
    for place, (width, group) in enumerate(rows.groupby("width")):
        first, colour = group.iloc[0], PALETTE[place]
        above.plot(first["at"], first["linear_loss"], color=colour)
        above.plot(first["at"], first["real_loss"], color=colour, **_DOTS)
        errors = np.array(group["prediction_error"].tolist())
        below.plot(first["at"][1:], errors.mean(0), color=colour, marker="os^Dv"[place % 5], markevery=4, label=width)
        if len(errors) > 1:
            low, high = np.array([interval(column) for column in errors.T]).T
            below.fill_between(first["at"][1:], np.maximum(low, 0), high, color=colour, alpha=0.2)
    above.set(ylabel="training loss", yscale="log")
    above.legend(handles=_key(), fontsize="small")
    below.set(ylabel="relative prediction error", xlabel="steps of gradient descent", ylim=(0, None))
    _steps(below, rows["at"].iloc[0])
    below.legend(title="hidden units", fontsize="small")
    count = rows["seed"].nunique()
    band = f"mean and 95 % interval of {count} seeds" if count > 1 else "one seed, no interval"
    note(figure, f"{table.profile} profile; top: seed {rows['seed'].iloc[0]}; bottom: {band}")
    return figure


@styled
def modes(table: Table) -> plt.Figure:
    """The training residual along eigenvectors, as a share of where it started, for the widest network."""
    row = _first_seed(table)[-1]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9))
    shown = [mode for mode in MODES if mode < row["n"]]
    for place, (mode, real, linear) in enumerate(zip(shown, row["real_modes"], row["linear_modes"], strict=True)):
        axes.plot(row["at"], np.divide(linear, linear[0]), color=PALETTE[place], label=f"no. {mode + 1}")
        axes.plot(row["at"], np.divide(real, real[0]), color=PALETTE[place], **_DOTS)
    axes.set(xlabel="steps of gradient descent", ylabel="share of the residual left", ylim=(-0.3, 1.3))
    _steps(axes, row["at"])
    figure.legend(title="eigenvector", loc="outside upper center", ncols=3, fontsize="small")
    note(figure, f"{table.profile} profile, {row['width']} hidden units, seed {row['seed']}; beyond the frame: cut off")
    return figure


@styled
def what_is_fitted(table: Table) -> plt.Figure:
    """The share of a direction that t steps fit, against its eigenvalue; ticks are the kernel's own eigenvalues."""
    row = _first_seed(table)[-1]
    speeds = np.geomspace(1e-5, 1, 400)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.7))
    for place, steps in enumerate((1, 10, 100, 1000)):
        dashes = ("-", "--", "-.", ":")[place]
        label = f"{steps:,} step" + "s" * (steps > 1)
        axes.plot(speeds, 1 - (1 - speeds) ** steps, dashes, color=PALETTE[place], label=label)
    own = row["learning_rate"] * np.array(row["eigenvalues"])
    own = own[own > speeds[0]]
    axes.plot(own, np.full(len(own), -0.06), "|", color="0.3", markersize=8)
    axes.set(xscale="log", xlabel=r"learning rate times eigenvalue, $\eta \kappa_j$", ylabel="share that is fitted")
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    note(figure, f"{table.profile} profile; ticks below: {row['width']} hidden units, seed {row['seed']}")
    return figure


@styled
def rates(table: Table) -> plt.Figure:
    """Training loss at several learning rates, below and beyond the stable one, for the widest network."""
    frame = table.frame
    widest = frame[(frame["width"] == frame["width"].max()) & (frame["seed"] == frame["seed"].iloc[0])]
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9))
    last = widest["steps"].min()
    for place, row in enumerate(widest.sort_values("learning_rate").to_dict("records")):
        seen = [index for index, step in enumerate(row["at"]) if step <= last]
        at, real, linear = (np.array(row[name])[seen] for name in ("at", "real_loss", "linear_loss"))
        axes.plot(at, linear, color=PALETTE[place], label=f"{row['learning_rate']:g}")
        axes.plot(at, real, color=PALETTE[place], **_DOTS)
    axes.set(xlabel="steps of gradient descent", ylabel="training loss", yscale="log")
    axes.legend(title=r"$\eta\, \kappa_{\max}$", fontsize="small", loc="upper left")
    note(figure, f"{table.profile} profile, {widest['width'].iloc[0]} hidden units; lines: linearized, dots: network")
    return figure


def _first_seed(table: Table) -> list[dict]:
    """The runs of the first seed, narrow networks first."""
    rows = runs(table)
    return rows[rows["seed"] == rows["seed"].iloc[0]].to_dict("records")


def _key() -> list[Line2D]:
    return [
        Line2D([], [], color="0.3", label="linearized, closed form"),
        Line2D([], [], color="0.3", label="network, gradient descent", **_DOTS),
    ]


def _steps(axes: plt.Axes, at: list[int]) -> None:
    """A logarithmic axis of steps that has room for step 0."""
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(-0.1, 1.1 * at[-1])
    ticks = [0, *(10**power for power in range(5) if 10**power <= at[-1])]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
