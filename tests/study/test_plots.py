"""What plots draw: places, intervals, order, legend, ticks and notes; read off the axes, not off the pictures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.container import ErrorbarContainer

from infocap.study import plots, style
from infocap.study.plots import PALETTE
from infocap.study.tables import interval

NAN = float("nan")
RUNS = pd.DataFrame(
    {
        "method": ["MAE"] * 3 + ["LIMIT"] * 3 + ["GCE"],
        "accuracy": [0.5, 0.7, 0.6, 0.9, 0.99, 0.96, 0.3],
        "peak": [0.7, 0.7, 0.7, 0.97, 0.99, 0.98, 0.6],
    }
)
ACCURACY = {"accuracy": ("last epoch", "o", PALETTE[0])}
BOTH = ACCURACY | {"peak": ("peak", "s", PALETTE[1], {"markerfacecolor": "white"})}


def drawn(axes):
    """Each series with its dots and bars: label, ``[dots, (x, y)]``, and the ends of the bars or ``None``."""
    for container in axes.containers:
        if isinstance(container, ErrorbarContainer):
            line, _, bars = container.lines
            ends = None if not bars else np.array([path.vertices for path in bars[0].get_paths()])
            yield container.get_label(), line.get_xydata(), ends


def names(axes, axis="y"):
    return [text.get_text() for text in getattr(axes, f"get_{axis}ticklabels")()]


def test_dots_are_means_with_their_intervals_within_bounds():
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS, ACCURACY, "method", bounds=(0, 1))
    ((label, dots, bars),) = drawn(axes)
    assert label == "last epoch" and names(axes) == ["GCE", "LIMIT", "MAE"]  # the first of the rows on top
    by_place = dict(zip(dots[:, 1], dots[:, 0], strict=True))
    assert by_place == pytest.approx({2: 0.6, 1: 0.95, 0: 0.3})
    low, high = interval([0.9, 0.99, 0.96])
    assert high > 1
    ends = {bar[0, 1]: bar[:, 0] for bar in bars if np.isfinite(bar).all()}
    assert set(ends) == {2, 1}, "one run has no interval"
    np.testing.assert_allclose(ends[1], [low, 1.0])
    np.testing.assert_allclose(ends[2], interval([0.5, 0.7, 0.6]))


def test_two_runs_are_drawn_as_their_range_and_the_note_says_so():
    rows = RUNS[(RUNS["method"] != "LIMIT") | (RUNS["accuracy"] > 0.9)]
    assert sorted(rows.groupby("method").size()) == [1, 2, 3]
    figure, axes = plots.subplots(height=2)
    plots.dots(axes, rows, ACCURACY, "method")
    ((_, _, bars),) = drawn(axes)
    ends = {bar[0, 1]: bar[:, 0] for bar in bars if np.isfinite(bar).all()}
    np.testing.assert_allclose(ends[1], [0.96, 0.99])
    np.testing.assert_allclose(ends[2], interval([0.5, 0.7, 0.6]))
    assert plots.note(figure, "bars: intervals").get_supxlabel() == "bars: intervals; of two runs, their range"
    for spread, said in {"band": True, "bars": True, "range": False, None: False}.items():
        figure, axes = plots.subplots(height=2)
        plots.curves(axes, rows.assign(x=[1.0] * len(rows)), "x", ACCURACY, hue=None, spread=spread)
        assert plots.note(figure, "x").get_supxlabel() == "x"  # six runs
        plots.curves(axes, rows[rows["method"] == "LIMIT"].assign(x=1.0), "x", ACCURACY, spread=spread)
        assert ("range" in plots.note(figure, "x").get_supxlabel()) == said
    lost = pd.DataFrame({"method": ["a", "a"], "accuracy": [0.5, np.nan]})
    _, axes = plots.subplots(height=2)
    plots.dots(axes, lost, ACCURACY, "method")  # no run is left out silently
    ((_, dots, bars),) = drawn(axes)
    assert np.isnan(dots).any() and bars is None


def test_without_bounds_intervals_are_whole():
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS[RUNS["method"] == "LIMIT"], ACCURACY, "method")
    ((_, _, bars),) = drawn(axes)
    np.testing.assert_allclose(bars[0][:, 0], interval([0.9, 0.99, 0.96]))


def test_a_mean_beyond_its_bounds_is_drawn_where_it_is():
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS[RUNS["method"] == "LIMIT"], ACCURACY, "method", bounds=(0, 0.8))
    ((_, dots, bars),) = drawn(axes)
    assert dots[0, 0] == pytest.approx(0.95) and bars[0][1, 0] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("order", "expected"), [("accuracy", ["GCE", "MAE", "LIMIT"]), (None, ["GCE", "LIMIT", "MAE"])]
)
def test_the_largest_mean_comes_on_top(order, expected):
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS, BOTH, "method", order=order)
    assert names(axes) == expected
    dots = next(drawn(axes))[1] + [0, -0.12]
    means = RUNS.groupby("method")["accuracy"].mean()
    assert {expected[round(y)]: x for x, y in dots} == pytest.approx(means.to_dict())


def test_a_line_without_a_mean_is_at_the_bottom_and_empty():
    rows = pd.concat([RUNS, pd.DataFrame({"method": ["ELR"] * 2, "accuracy": [0.9, NAN]})])
    _, axes = plots.subplots(height=2)
    plots.dots(axes, rows, ACCURACY, "method", order="accuracy")
    assert names(axes) == ["ELR", "GCE", "MAE", "LIMIT"]
    ((_, dots, _),) = drawn(axes)
    assert np.isnan(dict(dots[:, ::-1])[0]) and np.isfinite(dots[:, 0]).sum() == 3


def test_a_nan_in_one_run_leaves_out_the_mean():
    _, axes = plots.subplots(height=2)
    rows = RUNS.assign(accuracy=RUNS["accuracy"].where(RUNS.index != 1))
    plots.dots(axes, rows, ACCURACY, "method")
    ((_, dots, bars),) = drawn(axes)
    assert sorted(dots[np.isfinite(dots[:, 0]), 0].round(3)) == [0.3, 0.95]
    assert np.isfinite(bars).all(axis=(1, 2)).sum() == 1


def test_several_series_are_set_apart_within_their_line():
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS, BOTH, "method")
    (_, first, _), (_, second, _) = drawn(axes)
    np.testing.assert_allclose(first[:, 1] - second[:, 1], 0.24)  # the first above the second
    np.testing.assert_allclose((first[:, 1] + second[:, 1]) / 2, [2, 1, 0])


def test_series_of_one_line_each_stay_on_it():
    _, axes = plots.subplots(height=2)
    looks = {"LIMIT": ("ours", "D", PALETTE[3]), "MAE": ("theirs", "o", "0.4"), "absent": ("absent", "o", "red")}
    plots.dots(axes, RUNS, "accuracy", "method", hue="method", looks=looks)
    series = {label: dots for label, dots, _ in drawn(axes)}
    assert list(series) == ["ours", "theirs"]
    assert series["ours"][:, 1].tolist() == [1] and series["theirs"][:, 1].tolist() == [2]
    assert axes.containers[0].lines[0].get_color() == to_rgba(PALETTE[3])
    assert axes.containers[0].lines[0].get_marker() == "D"


def test_a_further_option_of_a_look_reaches_matplotlib():
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS, BOTH, "method")
    assert [container.lines[0].get_markerfacecolor() for container in axes.containers] == [to_rgba(PALETTE[0]), "white"]


def test_lines_can_have_other_names():
    for given in ({"MAE": "a", "LIMIT": "b", "GCE": "c"}, {"MAE": "a", "LIMIT": "b", "GCE": "c"}.get):
        _, axes = plots.subplots(height=2)
        plots.dots(axes, RUNS, ACCURACY, "method", names=given)
        assert names(axes) == ["c", "b", "a"]


def test_single_runs_are_drawn_pale():
    _, axes = plots.subplots(height=2)
    plots.dots(axes, RUNS, ACCURACY, "method", runs=True)
    pale = axes.lines[0]
    np.testing.assert_array_equal(pale.get_xdata(), RUNS["accuracy"])
    np.testing.assert_array_equal(pale.get_ydata(), [2, 2, 2, 1, 1, 1, 0])
    assert pale.get_alpha() < 0.5


def test_geometric_means_have_intervals_that_are_ratios():
    frame = pd.DataFrame({"kind": "twin", "ratio": [1.0, 4.0, 16.0]})
    _, axes = plots.subplots(height=2)
    plots.dots(axes, frame, "ratio", "kind", geometric=True)
    ((_, dots, bars),) = drawn(axes)
    assert dots[0, 0] == pytest.approx(4.0)
    np.testing.assert_allclose(bars[0][:, 0], np.exp(interval(np.log([1.0, 4.0, 16.0]))))


ALONG = pd.DataFrame({"epoch": [10, 1, 10, 1], "seed": [0, 0, 1, 1], "error": [0.1, 0.4, 0.3, 0.8]})
THIRD = pd.DataFrame({"epoch": [10, 1], "seed": [2, 2], "error": [0.2, 0.6]})
ERROR = {"error": ("training error", "s--", PALETTE[2])}


def test_curves_go_through_means_from_left_to_right():
    _, axes = plots.subplots(height=2)
    plots.curves(axes, pd.concat([ALONG, THIRD]), "epoch", ERROR, bounds=(0, 1))
    (line,), (band,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_xydata(), [[1, 0.6], [10, 0.2]])
    assert (line.get_label(), line.get_marker(), line.get_linestyle()) == ("training error", "s", "--")
    heights = band.get_paths()[0].vertices
    assert heights[:, 1].min() == 0 and heights[:, 1].max() == 1, "intervals end at the bounds"


def test_a_range_goes_from_the_smallest_to_the_largest_run():
    _, axes = plots.subplots(height=2)
    plots.curves(axes, ALONG, "epoch", ERROR, spread="range")
    vertices = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in vertices} == {(1, 0.4), (1, 0.8), (10, 0.1), (10, 0.3)}


@pytest.mark.parametrize("spread", ["band", "range", "bars", None])
def test_one_run_has_a_curve_and_nothing_around_it(spread):
    _, axes = plots.subplots(height=2)
    plots.curves(axes, ALONG[ALONG["seed"] == 0], "epoch", ERROR, spread=spread)
    assert sum(len(path.vertices) for band in axes.collections for path in band.get_paths()) == 0
    assert axes.lines[0].get_xydata().tolist() == [[1, 0.4], [10, 0.1]]


def test_bars_are_intervals():
    _, axes = plots.subplots(height=2)
    plots.curves(axes, pd.concat([ALONG, THIRD]), "epoch", ERROR, spread="bars", bounds=(0, 1))
    ((label, dots, bars),) = drawn(axes)
    assert label == "training error" and dots.round(6).tolist() == [[1, 0.6], [10, 0.2]]
    np.testing.assert_allclose(bars[0][:, 1], [interval([0.4, 0.8, 0.6])[0], 1])


def test_a_curve_breaks_where_a_run_gave_nan():
    _, axes = plots.subplots(height=2)
    plots.curves(axes, ALONG.assign(error=[0.1, 0.4, NAN, 0.8]), "epoch", ERROR)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.6, NAN])


def test_runs_are_pale_lines_without_markers():
    _, axes = plots.subplots(height=2)
    plots.curves(axes, ALONG, "epoch", ERROR, spread=None, runs="seed")
    first, second, mean = axes.lines
    assert first.get_ydata().tolist() == [0.4, 0.1] and second.get_ydata().tolist() == [0.8, 0.3]
    assert first.get_alpha() < 0.5 and first.get_marker() == "None" and first.get_linestyle() == "--"
    assert [line.get_label()[:1] for line in (first, second)] == ["_", "_"] and mean.get_label() == "training error"


@pytest.mark.parametrize("spread", ["band", "range", "bars", None])
def test_columns_of_lists_can_be_drawn_once_they_are_spread_out(spread):
    rows = pd.DataFrame({"at": [[1, 2], [1, 2]], "loss": [[0.5, 0.1], [0.7, 0.3]]}).explode(["at", "loss"])
    assert rows["loss"].dtype == object
    figure, axes = plots.subplots(height=2)
    plots.curves(axes, rows, "at", "loss", runs="at", spread=spread)
    figure.draw_without_rendering()
    mean = next(line for line in axes.lines if line.get_alpha() is None)
    np.testing.assert_allclose(mean.get_xydata(), [[1, 0.6], [2, 0.2]])


def test_series_by_the_values_of_a_column():
    frame = ALONG.assign(width=[16, 16, 64, 64])
    _, axes = plots.subplots(height=2)
    plots.curves(axes, frame, "epoch", "error", hue="width")
    assert [(line.get_label(), line.get_color()) for line in axes.lines] == [
        ("16", to_rgba(PALETTE[0])),
        ("64", to_rgba(PALETTE[1])),
    ]


def test_what_does_not_go_together():
    _, axes = plots.subplots(height=2)
    with pytest.raises(ValueError, match="hue: got 'seed' beside several columns; accepted: one column"):
        plots.curves(axes, ALONG, "epoch", ERROR, hue="seed")
    with pytest.raises(ValueError, match="looks: got them without hue; accepted: hue, or columns with their looks"):
        plots.dots(axes, RUNS, "accuracy", "method", looks={"MAE": ("MAE", "o", "red")})
    for places in ({}, {"x": 1.0, "y": 0.0}):
        with pytest.raises(ValueError, match="x and y: got .* accepted: one of them"):
            plots.line(axes, **places)


def test_scatter_draws_each_row():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, NAN], "kind": ["x", "y", "x"]})
    _, axes = plots.subplots(height=2)
    plots.scatter(axes, frame, "a", "b", hue="kind", looks=plots.looks(["y", "x"], "kind {}"), alpha=0.3)
    y, x = axes.lines
    assert (y.get_label(), y.get_marker(), y.get_linestyle(), y.get_alpha()) == ("kind y", "o", "None", 0.3)
    np.testing.assert_array_equal(x.get_xydata(), [[1, 4], [3, NAN]])
    assert y.get_xydata().tolist() == [[2, 5]]


def test_bars_stand_on_each_other():
    _, axes = plots.subplots(height=2)
    plots.bars(axes, [0, 2], {"a": ([0.25, 0.5], "red"), "b": ([0.75, 0.5], "blue")}, width=0.5)
    boxes = [(patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()) for patch in axes.patches]
    assert boxes == [(-0.25, 0, 0.5, 0.25), (1.75, 0, 0.5, 0.5), (-0.25, 0.25, 0.5, 0.75), (1.75, 0.5, 0.5, 0.5)]
    assert [container.get_label() for container in axes.containers] == ["a", "b"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_as_they_are(channels):
    pictures = np.random.default_rng(0).random((2, channels, 4, 5))
    _, panels = plots.subplots(1, 3, height=2)
    plots.images(panels, pictures, ["one", "two"], "least")
    shown = panels[1].images[0].get_array()
    expected = pictures[1, 0] if channels == 1 else pictures[1].transpose(1, 2, 0)
    np.testing.assert_array_equal(shown, expected)
    assert [axes.get_title() for axes in panels] == ["one", "two", ""]
    assert [axes.axison for axes in panels] == [True, True, False]
    assert panels[0].get_ylabel() == "least" and not len(panels[0].get_xticks())
    assert channels == 3 or panels[1].images[0].get_cmap().name == "gray_r"


def test_a_heat_map_has_hundredths_and_names_and_leaves_out_nan():
    matrix = pd.DataFrame([[NAN, -0.456], [1.0, 0.0]], ["SI", "CMI"], ["loss", "margin"])
    _, axes = plots.subplots(height=3)
    plots.heatmap(axes, matrix)
    assert [text.get_text() for text in axes.texts] == ["-46", "100", "0"]
    assert names(axes, "x") == ["loss", "margin"] and names(axes) == ["SI", "CMI"]
    assert axes.collections[0].get_clim() == (-1, 1)


def test_levels_say_what_they_are():
    _, axes = plots.subplots(height=2)
    plots.line(axes, x=0.5, text="chance", color="red", label="level")
    plots.line(axes, y=2.0)
    vertical, horizontal = axes.lines
    assert vertical.get_xdata() == [0.5, 0.5] and horizontal.get_ydata() == [2.0, 2.0]
    assert (vertical.get_color(), vertical.get_linestyle(), vertical.get_label()) == ("red", "--", "level")
    (text,) = axes.texts
    assert text.get_text() == "chance" and text.xy == (0.5, 1)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [("{:g}", ["0.1", "1", "10"]), (["a", 5, ""], ["a", "5", ""]), ("{:.1f}", ["0.1", "1.0", "10.0"])],
)
def test_ticks_are_plain_and_only_where_they_should_be(labels, expected):
    figure, axes = plots.subplots(height=2)
    axes.set(xscale="log", xlim=(0.01, 100))
    plots.ticks(axes.xaxis, [0.1, 1, 10], labels)
    figure.draw_without_rendering()
    assert names(axes, "x") == expected and axes.get_xticks().tolist() == [0.1, 1, 10]
    assert not len(axes.get_xticks(minor=True)) and axes.get_xlim() == (0.01, 100)


def test_one_legend_with_each_label_once():
    figure, (above, below) = plots.subplots(2, height=4)
    plots.curves(above, ALONG, "epoch", ERROR)
    plots.curves(below, ALONG, "epoch", ERROR | {"seed": ("seed", "o", "red")}, runs="seed")
    plots.legend(figure, columns=2, title="what")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training error", "seed"]
    assert legend.get_title().get_text() == "what"


def test_looks_differ_and_begin_anew_after_the_last():
    found = plots.looks(range(12), "no. {}", lines=("-", ":"))
    assert found[1] == ("no. 1", "s:", PALETTE[1])
    assert len({(form, colour) for _, form, colour in list(found.values())[:10]}) == 10
    assert found[10][1:] == ("o-", PALETTE[0])


def test_a_note_ends_the_figure():
    figure, _ = plots.subplots(height=2)
    assert plots.note(figure, "profile quick; exact") is figure
    assert figure.get_supxlabel() == "profile quick; exact"


@pytest.mark.parametrize(
    ("runs", "options", "text"),
    [
        ([3, 3, 5], {}, "profile quick; 2 seeds; bars: 95 % t intervals of the mean"),
        ([3, 3], {}, "profile quick; 1 seed, no interval"),
        ([3], {"spread": "bands: range over seeds"}, "profile quick; 1 seed, no band"),
        (pd.Series([1, 2]), {"spread": "pale: single ones", "what": "teacher"},
         "profile quick; 2 teachers; pale: single ones"),
    ],
)  # fmt: skip
def test_the_note_counts_runs(runs, options, text):
    assert plots.runs_note("quick", runs, **options) == text


def test_figures_have_the_books_style_whatever_the_session_has():
    with plt.rc_context({"figure.facecolor": "black", "axes.facecolor": "black", "lines.linewidth": 9}):
        figure, axes = plots.subplots(height=2.5)
        plots.curves(axes, ALONG, "epoch", ERROR)
        assert plt.rcParams["lines.linewidth"] == 9, "and leave the session's as it was"
    assert figure.get_facecolor() == axes.get_facecolor() == to_rgba("white")  # legible in the dark theme too
    assert axes.lines[0].get_linewidth() == style.RC["lines.linewidth"]
    assert figure.get_size_inches().tolist() == [style.WIDTH, 2.5]


def test_a_notebook_shows_a_figure_once():
    """What is left open in pyplot is shown when a cell ends, beside the cell's own value."""
    figure, _ = plots.subplots(height=2)
    plots.note(figure, "exact")
    plots.figure(height=2)
    assert not plt.get_fignums()
