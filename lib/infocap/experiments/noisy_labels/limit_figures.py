"""The figures of book/noisy_labels/limit.ipynb.

Every function takes rows of a table and the profile's name, and returns a figure. Rows come from
``infocap.experiments.noisy_labels.results``. Several sizes or noise rates are drawn one below the other.

Conventions: bars are 95 % t intervals of the mean over seeds, clipped to the range of the axis; with one seed there is
none. Bands around curves are the range over seeds.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, StrMethodFormatter

from infocap import data
from infocap.study.style import PALETTE, note, styled
from infocap.study.tables import Table, interval

__all__ = [
    "accuracies", "auxiliary_predictions", "beta_sweep", "by_rate", "controls", "curves", "detections",
    "gradient_bounds", "memorized", "suspicious_images",
]  # fmt: skip

WIDTH = 4.8  # inches; on a phone a figure shrinks to about three quarters of that

ACCURACIES = {
    "final_accuracy": ("last epoch", PALETTE[0], "o"),
    "selected_accuracy": ("selected by noisy validation", PALETTE[1], "s"),
    "peak_accuracy": ("peak on test data (oracle)", PALETTE[2], "D"),
}
CURVES = {
    "test_accuracy": "test accuracy",
    "memorized_fraction": "wrong labels\nreproduced (fraction)",
}
COLOURS = {
    "LIMIT Laplace": PALETTE[0],
    "LIMIT Gaussian": PALETTE[1],
    "MAE": PALETTE[2],
    "cross-entropy": PALETTE[3],
    "cross-entropy, small steps": PALETTE[4],
    "DMI": PALETTE[5],
}  # other methods take what is left of the palette
KINDS = {"gaussian": ("LIMIT Gaussian", PALETTE[1], "s"), "laplace": ("LIMIT Laplace", PALETTE[0], "o")}


@styled
def gradient_bounds(toys: pd.DataFrame, profile: str) -> plt.Figure:
    """Information in one noisy gradient and the bounds above it, against the noise."""
    rows = toys[toys["toy"] == "variational"].sort_values("parameter")
    figure, axes = plt.subplots(figsize=(WIDTH, 4.4))
    sigma, entropy = rows["parameter"], float(rows["label_entropy"].iloc[0])
    lines = [
        ("bound_prediction", "variational, $q$ = prediction $s$", PALETTE[3], "v", "-."),
        ("bound_posterior", "variational, $q$ = mean label", PALETTE[1], "s", "--"),
        ("bound_capacity", "Gaussian capacity", PALETTE[2], "^", ":"),
        ("information", "exact information", PALETTE[0], "o", "-"),
    ]
    for column, label, colour, marker, style in lines:
        axes.plot(sigma, rows[column], style, color=colour, marker=marker, markersize=5, label=label)
    axes.axhline(entropy, color="black", linewidth=1)
    axes.text(sigma.max(), entropy * 1.08, "$H(y)$: the whole label", ha="right", va="bottom")
    axes.set(xscale="log", yscale="log")
    _plain_ticks(axes.xaxis, sigma)
    _plain_ticks(axes.yaxis, (0.1, 1, 10))
    axes.set(xlabel=r"noise per logit, standard deviation $\sigma$", ylabel="nats per label")
    figure.legend(loc="outside upper left")
    note(figure, "exact, no runs: 10 classes, uniform noise 0.6, uniform prediction")
    return figure


@styled
def auxiliary_predictions(toys: pd.DataFrame, profile: str) -> plt.Figure:
    """The optimal auxiliary prediction for one input, between the law of the noisy label and the prediction."""
    figure, panels = plt.subplots(2, 1, figsize=(WIDTH, 5.6), sharex=True)
    for axes, kind in zip(panels, ("gaussian", "laplace"), strict=True):
        rows = toys[toys["toy"] == f"auxiliary_{kind}"].sort_values("parameter")
        bars = [rows["label_distribution"].iloc[0], *rows["auxiliary"], rows["prediction"].iloc[0]]
        heights = np.array(bars)
        places = np.array([0.0, *(1.4 + np.arange(len(rows))), 1.8 + len(rows)])
        bottom = np.zeros(len(bars))
        for k, colour in enumerate((PALETTE[0], PALETTE[1], PALETTE[7])):
            name = f"class {k + 1}" + (" (true)" if k == 0 else "")
            axes.bar(places, heights[:, k], bottom=bottom, color=colour, edgecolor="white", width=0.85, label=name)
            bottom += heights[:, k]
        axes.set_xticks(places, ["$P$", *(f"{beta:g}" for beta in rows["parameter"]), "$s$"])
        axes.set(ylabel="probability", ylim=(0, 1), title=KINDS[kind][0])
        axes.grid(False, axis="x")
    panels[1].set_xlabel(r"noisy law $P$,   $q^*$ for each $\beta$,   prediction $s$")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    note(figure, "exact: closed forms, no training")
    return figure


@styled
def accuracies(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """Test accuracy at the last epoch, at the selected checkpoint and at its best; methods sorted by the first."""
    settings = list(_settings(rows))
    counts = [part["label"].nunique() for _, part in settings]
    figure, panels = _stack(counts, row_height=0.5)
    for axes, (title, part) in zip(panels, settings, strict=True):
        _dots(axes, part, ACCURACIES)
        axes.set_title(title)
    panels[-1].set_xlabel("clean test accuracy (fraction)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left")
    note(figure, _runs(rows))
    return figure


@styled
def by_rate(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """Test accuracy of each method against the noise rate, at the last epoch and at its best."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.7))
    for place, (label, part) in enumerate(rows.groupby("label", sort=False)):
        colour = PALETTE[place]
        for column, name, style, fill in [
            ("final_accuracy", "last epoch", "o-", colour),
            ("peak_accuracy", "best (oracle)", "s:", "white"),
        ]:
            rates, groups = zip(*((rate, group[column]) for rate, group in part.groupby("rate")), strict=True)
            centres, errors = _means(groups, (0.0, 1.0))
            axes.errorbar(
                rates, centres, yerr=errors, fmt=style, color=colour, markerfacecolor=fill, markersize=6,
                capsize=2.5, label=f"{label}, {name}",
            )  # fmt: skip
    rates = sorted(rows["rate"].unique())
    axes.set(xlabel="share of wrong labels", ylabel="clean test accuracy", ylim=(0, 1))
    _plain_ticks(axes.xaxis, rates)
    figure.legend(loc="outside upper center", ncols=2, fontsize="small", handlelength=1.5, columnspacing=1.0)
    note(figure, _runs(rows))
    return figure


@styled
def memorized(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """Nats per label that the weights must hold at the end, by the inverse Fano bound."""
    settings = list(_settings(rows))
    figure, panels = _stack([part["label"].nunique() for _, part in settings], row_height=0.42)
    for axes, (title, part) in zip(panels, settings, strict=True):
        limit = part["noise_entropy"].mean()
        style = {"memorized_information": ("at least memorized", PALETTE[0], "o")}
        _dots(axes, part, style, order="memorized_information", bounds=(0, limit))
        axes.axvline(limit, color="black", linewidth=1, linestyle="--")
        axes.set_xlim(-0.02 * limit, 1.03 * limit)
        axes.set_title("; ".join(filter(None, [title, "dashed: noise entropy"])), loc="right")
        axes.xaxis.set_major_locator(MaxNLocator(6))
    panels[-1].set_xlabel("memorized, at least (nats per label)")
    note(figure, _runs(rows))
    return figure


@styled
def controls(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """Accuracy at the last epoch beside the memorized nats: what gives one without the other?"""
    settings = list(_settings(rows))
    counts = [part["label"].nunique() for _, part in settings]
    figure, panels = plt.subplots(
        len(counts), 2, figsize=(5.2, 1.3 + 0.5 * sum(counts)), squeeze=False, height_ratios=counts, sharey="row"
    )
    for (left, right), (title, part) in zip(panels, settings, strict=True):
        limit = part["noise_entropy"].mean()
        _dots(left, part, {"final_accuracy": ACCURACIES["final_accuracy"]})
        style = {"memorized_information": ("at least memorized", PALETTE[3], "s")}
        _dots(right, part, style, order="final_accuracy", bounds=(0, limit))
        left.set_title(title)
        left.xaxis.set_major_locator(MaxNLocator(4))
        right.xaxis.set_major_locator(MaxNLocator(4))
        right.set_xlim(-0.03 * limit, 1.05 * limit)
    panels[-1, 0].set_xlabel("test accuracy,\nlast epoch (fraction)")
    panels[-1, 1].set_xlabel("memorized, at least\n(nats per label)")
    note(figure, _runs(rows))
    return figure


@styled
def curves(rows: pd.DataFrame, profile: str, values: Sequence[str] = ("test_accuracy",)) -> plt.Figure:
    """Histories along training, one line per method: mean over seeds, band from the worst to the best seed."""
    settings = list(_settings(rows))
    cells = [(title, part, value) for title, part in settings for value in values]
    figure, panels = plt.subplots(
        len(cells), 1, figsize=(WIDTH, 1.3 + 2.6 * len(cells)), squeeze=False, sharex=len(settings) == 1
    )
    families = dict(zip(rows["label"], rows["family"], strict=True))
    marks = {name: (("-", "--", "-.", ":")[i % 4], "osD^v<>P"[i % 8]) for i, name in enumerate(families)}
    rest = iter([*PALETTE[6:], *PALETTE * len(families)])
    colours = {name: COLOURS.get(family) or next(rest) for name, family in families.items()}
    for axes, (title, part, value) in zip(panels[:, 0], cells, strict=True):
        for name, group in part.groupby("label", sort=False):
            (style, marker), colour = marks[name], colours[name]
            epochs = group["history"].iloc[0]["epoch"]
            lines = np.array([history[value] for history in group["history"]], dtype=float)
            axes.plot(epochs, lines.mean(0), style, color=colour, marker=marker, markersize=4, label=name)
            axes.fill_between(epochs, lines.min(0), lines.max(0), color=colour, alpha=0.18, linewidth=0)
        axes.set(xscale="log", ylabel=CURVES[value], title=title)
        last = max(epochs)
        _plain_ticks(axes.xaxis, [e for e in (1, 2, 5, 10, 20, 50, 100, 200) if e < 0.75 * last] + [last])
    panels[-1, 0].set_xlabel("epoch (log scale)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    wide = max(map(len, labels)) > 24
    figure.legend(handles, labels, loc="outside upper left", ncols=1 if wide else 2)
    several = rows["data_seed"].nunique() > 1
    note(figure, _profile(rows) + ("; band: range over seeds" if several else ", no band"))
    return figure


@styled
def beta_sweep(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """Final accuracy and memorized nats against the weight of the penalty, for both kinds of LIMIT."""
    settings = list(_settings(rows))
    values = {
        "final_accuracy": "test accuracy,\nlast epoch (fraction)",
        "memorized_information": "memorized, at\nleast (nats per label)",
    }
    cells = [(title, part, value) for title, part in settings for value in values]
    figure, panels = plt.subplots(len(cells), 1, figsize=(WIDTH, 1.2 + 2.3 * len(cells)), squeeze=False)
    betas = sorted(rows["beta"].unique())
    for axes, (title, part, value) in zip(panels[:, 0], cells, strict=True):
        bounds = (0, part["noise_entropy"].mean()) if value == "memorized_information" else (0, 1)
        for shift, (kind, (name, colour, marker)) in zip((-0.08, 0.08), KINDS.items(), strict=True):
            kept = part[part["method"] == f"LIMIT {kind.capitalize()}"]
            groups = [kept.loc[kept["beta"] == beta, value] for beta in betas]
            places = np.array([i + shift for i, group in enumerate(groups) if len(group)])
            means, errors = _means([group for group in groups if len(group)], bounds)
            axes.errorbar(places, means, errors, color=colour, marker=marker, markersize=5, capsize=3, label=name)
        axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
        axes.set(ylabel=values[value], title=title)
    panels[-1, 0].set_xlabel(r"$\beta$, weight of the predicted gradient's length")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    note(figure, _runs(rows))
    return figure


@styled
def detections(rows: pd.DataFrame, profile: str) -> plt.Figure:
    """How well each score ranks wrong labels first; ``rows`` from ``results.detection``."""
    rows = rows.rename(columns={"scorer": "label"})
    settings = list(_settings(rows))
    figure, panels = _stack([part["label"].nunique() for _, part in settings], row_height=0.55)
    style = {
        "auc": ("area under the ROC curve", PALETTE[0], "o"),
        "precision_at_100": ("precision among the top 100", PALETTE[1], "s"),
    }
    for axes, (title, part) in zip(panels, settings, strict=True):
        _dots(axes, part, style, order="auc")
        axes.axvline(0.5, color="black", linewidth=1, linestyle="--")
        axes.set_xlim(min(0.4, axes.get_xlim()[0]), 1.02)
        axes.set_title("; ".join(filter(None, [title, "dashed: chance, for the area"])), loc="right")
    panels[-1].set_xlabel("area, or precision (fraction)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left")
    note(figure, _runs(rows))
    return figure


@styled
def suspicious_images(table: Table, row: int, count: int = 12) -> plt.Figure:
    """The training images whose given label is farthest from the auxiliary prediction, the worst first.

    Args:
        table: ``noisy_labels/training``.
        row: Number of the run in it, column ``row`` of ``results.panel``.
        count: How many images, at most.
    """
    arrays, name = table.arrays[row], table.frame["data"].iloc[row]
    names, images = data.class_names(name), data.load(name).train_inputs
    order = np.argsort(-arrays["score"], kind="stable")[:count]
    columns = 3
    figure, panels = plt.subplots(-(-len(order) // columns), columns, figsize=(WIDTH, 2.2 * -(-len(order) // columns)))
    figure.get_layout_engine().set(hspace=0.06)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, i in zip(panels.flat, order, strict=False):
        image = images[int(arrays["rows"][i])].permute(1, 2, 0).squeeze(-1).numpy()
        given, true = int(arrays["noisy_labels"][i]), int(arrays["clean_labels"][i])
        axes.imshow(image, cmap="gray_r" if image.ndim == 2 else None)
        wrong = given != true
        axes.set_title(
            f"given: {names[given]}\n" + (f"true: {names[true]}" if wrong else "and it is right"),
            color="black" if wrong else PALETTE[3],
            fontsize=10.5,
        )
    note(figure, f"profile {table.profile}; one run, seed {table.frame['data_seed'].iloc[row]}")
    return figure


def _settings(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each size and noise rate, with a title if there are several."""
    groups = rows.groupby(["n", "rate"], sort=False)
    for (n, rate), part in groups:
        yield (f"n = {n:,}, noise rate {rate:g}" if len(groups) > 1 else ""), part


def _stack(counts: list[int], row_height: float) -> tuple[plt.Figure, Sequence[plt.Axes]]:
    size = (WIDTH, 1.6 + row_height * sum(counts))
    figure, panels = plt.subplots(len(counts), 1, figsize=size, squeeze=False, height_ratios=counts)
    return figure, panels[:, 0]


def _dots(
    axes: plt.Axes,
    rows: pd.DataFrame,
    series: dict[str, tuple[str, Any, str]],
    order: str | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> None:
    """One line per method, the largest mean of ``order`` on top; one mark per series."""
    means = rows.groupby("label")[order or next(iter(series))].mean().sort_values(kind="stable")
    names = list(means.index)
    places = np.arange(len(names))
    shifts = np.linspace(0.24, -0.24, len(series)) if len(series) > 1 else [0.0]
    for shift, (column, (text, colour, marker)) in zip(shifts, series.items(), strict=True):
        centres, errors = _means([rows.loc[rows["label"] == name, column] for name in names], bounds)
        axes.errorbar(
            centres, places + shift, xerr=errors, fmt=marker, color=colour, markersize=6, capsize=2.5, label=text
        )
    axes.set_yticks(places, [_wrapped(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(True, axis="y", color="0.93")
    for text, name in zip(axes.get_yticklabels(), names, strict=False):
        text.set_fontweight("bold" if name.startswith("LIMIT") else "normal")


def _wrapped(label: str, width: int = 21) -> str:
    """A label in lines that break after commas."""
    lines = [""]
    for part in label.replace(" gradient noise", " noise").split(", "):
        if not lines[-1]:
            lines[-1] = part
        elif len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines[-1] += ","
            lines.append(part)
    return "\n".join(lines)


def _means(groups: Sequence[Sequence[float]], bounds: tuple[float, float]) -> tuple[np.ndarray, np.ndarray | None]:
    """Means and asymmetric bar lengths; a bar ends where the quantity's range does."""
    means = np.array([np.mean(group) for group in groups])
    ends = np.array([interval(group) for group in groups])
    if np.isnan(ends).all():
        return means, None
    low, high = np.clip(ends, *bounds).T
    return means, np.nan_to_num(np.maximum(np.stack([means - low, high - means]), 0))


def _plain_ticks(axis: Any, values: Sequence[float]) -> None:
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _profile(rows: pd.DataFrame, profile: str) -> str:
    seeds = rows["data_seed"].nunique()
    return f"profile {profile}; {seeds} seed{'s' if seeds > 1 else ''}"


def _runs(rows: pd.DataFrame, profile: str) -> str:
    several = rows["data_seed"].nunique() > 1
    return _profile(rows) + ("; bars: 95 % t intervals of the mean" if several else ", no interval")
