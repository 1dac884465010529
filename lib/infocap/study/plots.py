"""How are results drawn?

A figure of a chapter is a cell of a few lines: make the axes, draw rows of a table on them, label them, and end with
the note, which returns the figure and so shows it::

    figure, axes = plots.subplots(height=3.6)
    plots.curves(axes, rows, "epoch", {"gap": ("gap", "o-", PALETTE[0]), "bound": ("f-CMI bound", "s-", PALETTE[3])})
    axes.set(xlabel="epoch", ylabel="0-1 loss", ylim=(0, None))
    plots.legend(figure, columns=2)
    plots.note(figure, plots.runs_note(training.profile, rows["seed"], "bands: 95 % t intervals of the mean"))

Conventions: a frame has one row per run. What is drawn are means over runs with 95 % t intervals of the mean, clipped
to ``bounds``, the range of the quantity. Of two runs the range is drawn, since a t interval of two is 12.7 standard
errors wide to each side and hides them, and the note says so. One run has no interval; a NaN in one run leaves out the
mean, so that no run is left out silently. All functions draw in the book's style and return what they made; axes are
matplotlib's, for everything that is not here.

A *look* says how a series is drawn: its label in the legend, matplotlib's format (marker and line), its colour, and, if
need be, a dictionary of further options: ``("f-CMI bound", "s--", PALETTE[3], {"markerfacecolor": "white"})``. Series
are several columns, each with its look, or the values of a column ``hue``; ``looks`` then says which are drawn.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, Literal
from weakref import WeakSet

import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from infocap.study import style
from infocap.study.style import PALETTE, WIDTH
from infocap.study.tables import summarize

__all__ = [
    "PALETTE", "WIDTH", "bars", "curves", "dots", "figure", "heatmap", "images", "legend", "line", "looks", "note",
    "runs_note", "scatter", "subplots", "ticks",
]  # fmt: skip

Look = tuple[str, str, Any] | tuple[str, str, Any, Mapping[str, Any]]
Bounds = tuple[float, float] | None

_MARKERS = "osD^v<>PXx"
_of_two: WeakSet[Axes] = WeakSet()  # axes with a bar or a band that is the range of two runs
_drawn_in_style = plt.rc_context(style.RC)  # as a decorator: entered anew for every call


@_drawn_in_style
def figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, for pictures that ``subplots`` cannot lay out; a notebook shows it once, where it is returned.

    Args:
        height: Inches.
        width: Inches; the default keeps the letters legible on a phone.

    Example:
        >>> made = figure(height=3)
        >>> made.get_size_inches().tolist()
        [4.8, 3.0]
    """
    return matplotlib.figure.Figure(figsize=(width, height))  # unknown to pyplot, which would show it a second time


@_drawn_in_style
def subplots(rows: int = 1, columns: int = 1, *, height: float, width: float = WIDTH, **options: Any) -> tuple:
    """A figure and its axes, as ``matplotlib.pyplot.subplots`` gives them.

    Args:
        rows: How many panels lie one below the other.
        columns: How many lie side by side.
        height: Inches, all rows together.
        width: Inches.
        options: As for matplotlib, such as ``sharex``, ``squeeze``, ``height_ratios``.

    Returns:
        The figure, and one ``Axes`` or an array of them.

    Example:
        >>> made, (above, below) = subplots(2, height=5, sharex=True)
        >>> _ = below.set(xlabel="epoch")
    """
    made = figure(height, width)
    return made, made.subplots(rows, columns, **options)


@_drawn_in_style
def dots(
    axes: Axes,
    frame: pd.DataFrame,
    values: str | Mapping[str, Look],
    by: str,
    *,
    hue: str | None = None,
    looks: Mapping[Hashable, Look] | None = None,
    order: str | None = None,
    names: Mapping[Hashable, str] | Callable[[Any], str] | None = None,
    runs: bool = False,
    bounds: Bounds = None,
    geometric: bool = False,
) -> None:
    """One line for each value of a column: the mean over its rows as a dot, with its interval.

    Args:
        axes: Where to draw.
        frame: One row per run.
        values: The column that is averaged, or several with their looks: each is a series.
        by: The column whose values are the lines, in order of first appearance, the first on top.
        hue: A column whose values are the series; where a line has several, they are set apart.
        looks: Of the values of ``hue``; without it all are drawn, with the looks of ``looks``.
        order: A column: the line with the largest mean of it comes on top.
        names: What the lines are called, if not by their values.
        runs: Draws the single runs too, pale.
        bounds: The range of the quantity; intervals end there.
        geometric: Averages logarithms: geometric means, and intervals that are ratios.

    Example:
        >>> frame = pd.DataFrame({"method": ["MAE", "MAE", "LIMIT"], "accuracy": [0.5, 0.7, 0.9]})
        >>> made, axes = subplots(height=2)
        >>> dots(axes, frame, "accuracy", "method", order="accuracy", bounds=(0, 1))
        >>> [text.get_text() for text in axes.get_yticklabels()]  # from the bottom
        ['MAE', 'LIMIT']
    """
    lines = list(dict.fromkeys(frame[by]))[::-1]
    if order is not None:
        means = _means(frame, by, order, None, False)
        lines = means.sort_values("mean", kind="stable", na_position="first")[by].tolist()
    series = list(_series(frame, values, hue, looks))
    beside = pd.concat([part[by].drop_duplicates() for part, *_ in series]).duplicated().any()
    step = min(0.24, 0.6 / len(series)) if beside else 0.0
    for place, (part, column, look) in enumerate(series):
        shift = step * ((len(series) - 1) / 2 - place)
        means = _means(part, by, column, bounds, geometric)
        at = np.array([lines.index(name) for name in means[by]]) + shift
        _, marker, colour, _ = look
        if runs:
            each = part[by].map(lines.index) + shift
            axes.plot(part[column].astype(float), each, marker, color=colour, alpha=0.35, markersize=4)
        _errorbar(axes, means["mean"], at, "xerr", means, look)
    called = names.__getitem__ if isinstance(names, Mapping) else names or str
    axes.set_yticks(range(len(lines)), [called(name) for name in lines])
    axes.set_ylim(-0.6, len(lines) - 0.4)
    axes.grid(True, axis="y", color="0.93")


@_drawn_in_style
def curves(
    axes: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str | Mapping[str, Look],
    *,
    hue: str | None = None,
    looks: Mapping[Hashable, Look] | None = None,
    spread: Literal["band", "bars", "range"] | None = "band",
    runs: str | None = None,
    bounds: Bounds = None,
    geometric: bool = False,
) -> None:
    """Lines through the means over rows of equal ``x``; where there is one row for each ``x``, lines through them.

    Args:
        axes: Where to draw.
        frame: One row per run and ``x``.
        x: The column across.
        y: The column upwards, or several with their looks: each is a series.
        hue: A column whose values are the series.
        looks: Of the values of ``hue``, as in ``dots``.
        spread: Shows the interval of the mean as a band or as bars; ``"range"`` is a band from the smallest to the
            largest run.
        runs: The column that says which rows are one run: each is drawn too, pale.
        bounds: The range of the quantity; bands and bars end there.
        geometric: Averages logarithms.

    Example:
        >>> frame = pd.DataFrame({"epoch": [1, 2, 1, 2], "seed": [0, 0, 1, 1], "error": [0.5, 0.2, 0.7, 0.4]})
        >>> made, axes = subplots(height=3)
        >>> curves(axes, frame, "epoch", {"error": ("training error", "o-", PALETTE[0])}, runs="seed", bounds=(0, 1))
        >>> axes.lines[-1].get_ydata().round(3).tolist()
        [0.6, 0.3]
    """
    for part, column, look in _series(frame, y, hue, looks):
        label, form, colour, options = look
        part = part.astype({x: float, column: float})
        if runs is not None:
            for _, run in part.sort_values(x).groupby(runs, sort=False):
                axes.plot(run[x], run[column], form.lstrip(_MARKERS) or "-", color=colour, alpha=0.3, linewidth=1)
        means = _means(part, x, column, bounds, geometric).sort_values(x)
        if spread == "bars":
            _errorbar(axes, means[x], means["mean"], "yerr", means, look)
            continue
        axes.plot(means[x], means["mean"], form, color=colour, label=label, **{"markersize": 5} | options)
        if spread == "range":
            ends = part.groupby(x)[column].agg(["min", "max", "size"])
            ends = ends[ends["size"] > 1]
            axes.fill_between(ends.index, ends["min"], ends["max"], color=colour, alpha=0.18)
        elif spread == "band":
            _remember(axes, means)
            axes.fill_between(means[x], means["low"], means["high"], color=colour, alpha=0.18)


@_drawn_in_style
def scatter(
    axes: Axes, frame: pd.DataFrame, x: str, y: str, *, hue: str | None = None,
    looks: Mapping[Hashable, Look] | None = None, **options: Any,
) -> None:  # fmt: skip
    """One dot for each row.

    Args:
        axes: Where to draw.
        frame: One row per dot.
        x: The column across.
        y: The column upwards.
        hue: A column whose values are the series.
        looks: Of the values of ``hue``, as in ``dots``; their lines are not drawn.
        options: Of all dots, as for ``Axes.plot``; they are pale by default, as dots overlap.

    Example:
        >>> frame = pd.DataFrame({"closed form": [1.0, 2.0], "retraining": [1.1, 1.8], "seed": [0, 0]})
        >>> made, axes = subplots(height=3)
        >>> scatter(axes, frame, "closed form", "retraining", hue="seed", looks={0: ("seed 0", "o", PALETTE[0])})
        >>> axes.lines[0].get_xydata().tolist()
        [[1.0, 1.1], [2.0, 1.8]]
    """
    for part, column, (label, form, colour, extra) in _series(frame, y, hue, looks):
        drawn = {"alpha": 0.7, "markersize": 5, "linestyle": ""} | extra | options
        marker = form.rstrip("-.:") or "o"
        across, up = part[x].astype(float), part[column].astype(float)
        axes.plot(across, up, marker=marker, color=colour, label=label, **drawn)


@_drawn_in_style
def bars(axes: Axes, places: Sequence[float], heights: Mapping[str, tuple[Sequence[float], Any]], width: float) -> None:
    """Bars, one series on top of the other.

    Args:
        axes: Where to draw.
        places: ``[bars]``, where they stand.
        heights: Label in the legend to heights ``[bars]`` and colour, from the bottom up.
        width: Of a bar, in units of ``places``.

    Example:
        >>> made, axes = subplots(height=3)
        >>> bars(axes, [0, 1], {"class 1": ([0.2, 0.5], PALETTE[0]), "class 2": ([0.8, 0.5], PALETTE[1])}, 0.8)
        >>> [float(patch.get_y()) for patch in axes.patches]
        [0.0, 0.0, 0.2, 0.5]
    """
    bottom = np.zeros(len(places))
    for label, (values, colour) in heights.items():
        values = np.asarray(values, dtype=float)
        axes.bar(places, values, width, bottom, color=colour, edgecolor="white", label=label)
        bottom = bottom + values
    axes.grid(False, axis="x")


@_drawn_in_style
def images(
    panels: Sequence[Axes], pictures: Sequence[Any], titles: Sequence[str] = (), label: str = "", size: Any = "medium"
) -> None:
    """Pictures in a row, or in rows: one for each axes, without ticks; axes that are left over stay empty.

    Args:
        panels: The axes, such as ``panels.flat`` of ``subplots``.
        pictures: ``[1, height, width]`` or ``[3, height, width]``, values from 0 to 1, arrays or tensors.
        titles: One for each picture.
        label: Stands to the left of the first.
        size: Of the letters of the titles.

    Example:
        >>> made, panels = subplots(1, 3, height=2)
        >>> images(panels.flat, np.zeros((2, 1, 28, 28)), ["shirt", "coat"], "least")
        >>> [axes.axison for axes in panels], panels[0].get_title(), panels[0].get_ylabel()
        ([True, True, False], 'shirt', 'least')
    """
    panels = list(panels)
    for axes in panels[len(pictures) :]:
        axes.set_axis_off()
    for place, (axes, picture) in enumerate(zip(panels, pictures, strict=False)):
        picture = np.moveaxis(np.asarray(picture), 0, -1)
        axes.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if titles:
            axes.set_title(titles[place], fontsize=size)
    panels[0].set_ylabel(label)


@_drawn_in_style
def heatmap(axes: Axes, matrix: pd.DataFrame) -> None:
    """A matrix of correlations in colours from -1 to 1, with hundredths in its fields; NaN stays empty.

    Args:
        axes: Where to draw.
        matrix: ``[rows, columns]`` with their names.

    Example:
        >>> made, axes = subplots(height=4)
        >>> heatmap(axes, pd.DataFrame([[np.nan, 0.5], [-0.25, np.nan]], ["SI", "CMI"], ["SI", "CMI"]))
        >>> [text.get_text() for text in axes.texts]
        ['50', '-25']
    """
    sns.heatmap(
        matrix, vmin=-1, vmax=1, cmap="vlag", annot=100 * matrix, fmt=".0f", square=True, linewidths=0.5, cbar=False,
        annot_kws={"fontsize": 8}, ax=axes,
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.grid(False)
    axes.set(xlabel="", ylabel="")
    plt.setp(axes.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")


@_drawn_in_style
def line(axes: Axes, *, x: float | None = None, y: float | None = None, text: str = "", **options: Any) -> None:
    """A level to compare with, across the axes: vertical at ``x`` or horizontal at ``y``; dashed.

    Args:
        axes: Where to draw.
        x: Where a vertical line stands.
        y: Where a horizontal line lies.
        text: Stands at its end, at the top left of a vertical line or on the right above a horizontal one.
        options: As for ``Axes.axvline``, such as ``color`` and ``label``.

    Raises:
        ValueError: Not exactly one of ``x`` and ``y``.

    Example:
        >>> made, axes = subplots(height=3)
        >>> line(axes, y=0.5, text="guessing")
        >>> axes.texts[0].get_text()
        'guessing'
    """
    if (x is None) == (y is None):
        raise ValueError(f"x and y: got {x} and {y}; accepted: one of them")
    look = {"color": "black", "linewidth": 1, "linestyle": "--", "zorder": 1} | options
    if x is not None:
        axes.axvline(x, **look)
        place, across, offset, top = (x, 1), ("data", "axes fraction"), (-4, -4), "top"
    else:
        axes.axhline(y, **look)
        place, across, offset, top = (1, y), ("axes fraction", "data"), (-4, 3), "bottom"
    if text:
        axes.annotate(
            text, place, offset, xycoords=across, textcoords="offset points", ha="right", va=top, color="0.3",
            fontsize="small",
        )  # fmt: skip


def ticks(axis: Axis, places: Sequence[float], labels: str | Sequence[Any] = "{:g}") -> None:
    """Ticks at some places only, with plain numbers also where the axis is logarithmic.

    Args:
        axis: ``axes.xaxis`` or ``axes.yaxis``; its scale is already set.
        places: Where.
        labels: One for each, or a format.

    Example:
        >>> made, axes = subplots(height=3)
        >>> _ = axes.set(xscale="log", xlim=(1, 100))
        >>> ticks(axes.xaxis, [1, 10, 100], "{:,} epochs")
        >>> [text.get_text() for text in axes.get_xticklabels()]
        ['1 epochs', '10 epochs', '100 epochs']
    """
    places = list(places)
    names = [labels.format(place) for place in places] if isinstance(labels, str) else [str(name) for name in labels]
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_ticklabels(names)


@_drawn_in_style
def legend(figure: Figure, columns: int = 1, **options: Any) -> None:
    """One legend above all panels, each label once.

    Args:
        figure: Its axes have the labels.
        columns: Side by side; one column stands on the left, several in the middle and in small letters.
        options: As for ``Figure.legend``.

    Example:
        >>> made, panels = subplots(2, height=5)
        >>> for axes in panels:
        ...     _ = axes.plot([0, 1], label="gap")
        >>> legend(made)
        >>> [text.get_text() for text in made.legends[0].get_texts()]
        ['gap']
    """
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    look = {"loc": "outside upper left"} if columns == 1 else {"loc": "outside upper center", "fontsize": "small"}
    figure.legend(handles.values(), handles.keys(), ncols=columns, **look | options)


def looks(keys: Sequence[Hashable], label: str = "{}", lines: Sequence[str] = ("-",)) -> dict[Hashable, Look]:
    """A look for each key: the colours of the palette and the markers, in their order.

    Args:
        keys: Such as the values of a column.
        label: Format of a key in the legend.
        lines: Matplotlib's formats of lines, such as ``("-", "--", "-.", ":")``.

    Example:
        >>> [(key, label, form) for key, (label, form, _) in looks([16, 64], "{:,} units").items()]
        [(16, '16 units', 'o-'), (64, '64 units', 's-')]
    """
    endless = zip(cycle(_MARKERS), cycle(lines), cycle(PALETTE), strict=True)
    return {
        key: (label.format(key), marker + line, colour)
        for key, (marker, line, colour) in zip(keys, endless, strict=False)
    }


@_drawn_in_style
def note(figure: Figure, text: str) -> Figure:
    """Writes the small line below a figure and returns the figure, so that the cell which ends with it shows it.

    Args:
        figure: The figure.
        text: The profile, the number of runs, what a bar or a band is; see ``runs_note``.

    Example:
        >>> made, axes = subplots(height=3)
        >>> note(made, "profile quick; exact").get_supxlabel()
        'profile quick; exact'
    """
    style.note(figure, f"{text}; of two runs, their range" if _of_two.intersection(figure.axes) else text)
    return figure


def runs_note(
    profile: str, runs: Sequence[Any], spread: str = "bars: 95 % t intervals of the mean", what: str = "seed"
) -> str:
    """The text of a note: the profile, how many runs a mean is taken over, and what shows their spread.

    Args:
        profile: Its name, such as ``table.profile``.
        runs: The column that names a row's run: its different values are counted.
        spread: What a bar or a band is; one run has none, and the text says so.
        what: What a run is, in the singular.

    Example:
        >>> runs_note("quick", [0, 1, 2, 0, 1, 2], what="teacher")
        'profile quick; 3 teachers; bars: 95 % t intervals of the mean'
        >>> runs_note("smoke", [0, 0], "bands: range over seeds")
        'profile smoke; 1 seed, no band'
    """
    count = len(set(runs))
    if count != 1:
        return f"profile {profile}; {count} {what}s; {spread}"
    shown = spread.partition(":")[0].removesuffix("s")
    return f"profile {profile}; 1 {what}, no {'interval' if shown == 'bar' else shown}"


def _series(
    frame: pd.DataFrame, values: str | Mapping[str, Look], hue: str | None, chosen: Mapping[Hashable, Look] | None
) -> Iterator[tuple[pd.DataFrame, str, tuple[str, str, Any, dict[str, Any]]]]:
    """The rows of each series, its column and its look; a series without rows is left out."""
    if hue is None:
        if chosen is not None:
            raise ValueError("looks: got them without hue; accepted: hue, or columns with their looks")
        columns = values if isinstance(values, Mapping) else {values: ("", "o-", PALETTE[0])}
        parts = [(frame, column, look) for column, look in columns.items()]
    else:
        if not isinstance(values, str):
            raise ValueError(f"hue: got {hue!r} beside several columns; accepted: one column whose rows it parts")
        chosen = looks(list(dict.fromkeys(frame[hue]))) if chosen is None else chosen
        parts = [(frame[frame[hue] == key], values, look) for key, look in chosen.items()]
    for part, column, (label, form, colour, *options) in parts:
        if len(part):
            yield part, column, (label, form, to_rgba(colour), dict(*options))


def _means(frame: pd.DataFrame, by: str, value: str, bounds: Bounds, geometric: bool) -> pd.DataFrame:
    """One row per value of ``by``: ``runs``, ``mean``, and ``low`` and ``high`` within the bounds."""
    numbers = pd.DataFrame({by: frame[by], "mean": frame[value].astype(float)})
    if geometric:
        numbers["mean"] = np.log(numbers["mean"])
    means = summarize(numbers, [by], ["mean"]).rename(columns={"mean_low": "low", "mean_high": "high"})
    ends = ["mean", "low", "high"]
    two = means["runs"].eq(2) & means["mean"].notna()
    range_of = numbers.groupby(by, sort=False, dropna=False)["mean"].agg(["min", "max"])  # in the order of means
    means.loc[two, ends[1:]] = range_of.to_numpy()[two]
    if geometric:
        means[ends] = np.exp(means[ends])
    if bounds is not None:
        means[ends[1:]] = means[ends[1:]].clip(*bounds)
    return means


def _remember(axes: Axes, means: pd.DataFrame) -> None:
    """Lets the note below the axes say that some of their bars or bands are ranges of two runs."""
    if means["runs"].eq(2).any():
        _of_two.add(axes)


def _errorbar(axes: Axes, x: Any, y: Any, direction: str, means: pd.DataFrame, look: tuple) -> None:
    """Marks with what is left of their intervals; marks alone where no mean has one."""
    _remember(axes, means)
    label, form, colour, options = look
    lengths = np.stack([means["mean"] - means["low"], means["high"] - means["mean"]]).clip(min=0)
    spread = None if np.isnan(lengths).all() else lengths
    drawn = {"capsize": 2.5, "markersize": 5, direction: spread} | options
    axes.errorbar(x, y, fmt=form, color=colour, label=label, **drawn)
