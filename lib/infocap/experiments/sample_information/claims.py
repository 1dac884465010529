"""The claims of part 2 and the rules that decide them.

A rule that speaks of several tasks gives one verdict: that of all tasks if they agree, *partly* if they do not.
Differences between scores are paired by seed.
"""

from typing import Any

import numpy as np
import pandas as pd

from infocap.experiments.sample_information.results import agreement, best_influence, bound, panel, toy
from infocap.experiments.sample_information.tasks import task_name
from infocap.study.claims import Decision, claim, exceeds, holds, in_each, stays_below
from infocap.study.tables import NotRun, Table

_EXACT = 1e-8  # relative
_PAPER = "Harutyunyan et al. (2021)"
_DIRECTION = f"direction: {_PAPER}; threshold: ours"
_DETECTION = "sample_information/detection"
_SUMMARIZATION = "sample_information/summarization"
_RETRAINING, _TOYS = "sample_information/retraining", "sample_information/toys"
_HERE = "this book"


@claim(
    "All left-out solutions at once are those of training the linearized network again without each example.",
    kind="theorem", source=f"{_HERE}; dynamics: {_PAPER}", table=_TOYS, figure="thm-all-at-once",
)  # fmt: skip
def closed_form_is_exact(table: Table) -> Decision:
    """No error of weights, predictions or residuals exceeds 1e-8 of the largest entry."""
    rows = toy(table, "exact")
    worst = float(rows[["weight_error", "prediction_error", "residual_error"]].to_numpy().max())
    return holds(worst <= _EXACT, f"largest relative error {worst:.1e} in {len(rows)} settings")


@claim(
    "F-SI of a linearized network is SI with the inverse Fisher matrix as covariance of the noise.",
    kind="theorem", source=_PAPER, table=_TOYS, figure="prop-fisher",
)  # fmt: skip
def fisher_identity(table: Table) -> Decision:
    """No difference exceeds 1e-8 of the largest F-SI."""
    rows = toy(table, "fisher")
    return holds(
        bool(rows["error"].max() <= _EXACT), f"largest difference {rows['error'].max():.1e} in {len(rows)} nets"
    )


@claim(
    "The Lyapunov equation gives the covariance of SGD around a minimum.",
    kind="theorem", source=f"{_PAPER}; for small learning rates", table=_TOYS, figure="fig-si-steady",
    note="The equation holds in the limit of small learning rates, and a simulated covariance has sampling error. "
    "Smaller rates and longer simulations would decide it.",
)  # fmt: skip
def steady_state(table: Table) -> Decision:
    """At the smallest learning rate the relative error, in the Frobenius norm, stays below .05."""
    rows = toy(table, "steady_state")
    rows = rows[rows["parameter"] == rows["parameter"].min()]
    return stays_below(rows["error"].tolist(), 0.05, f"relative error at learning rate {rows['parameter'].min():g}")


@claim(
    "The generalization gap of the smoothed algorithm stays below the bound from sample information.",
    kind="theorem", source=_PAPER, table=_TOYS, figure="fig-si-bound",
)  # fmt: skip
def bound_holds(table: Table) -> Decision:
    """At every sigma the mean gap over training sets is at most the bound."""
    rows = bound(table)
    slack = (rows["bound"] - rows["gap"]).min()
    return holds(bool(slack >= 0), f"smallest slack {slack:.3g} over {len(rows)} values of sigma")


@claim(
    "For a wide network the closed form agrees with real retraining: correlation above .9.",
    kind="paper", source=_DIRECTION, table=_RETRAINING, figure="fig-si-width", thesis_number=".987 and .993",
    note="Few networks were trained, and few of their examples left out. More of both would decide it.",
)  # fmt: skip
def wide_networks_agree(table: Table) -> Decision:
    """At the largest width the smaller of Pearson's correlations, for weights and for predictions, exceeds .9."""
    rows = agreement(_width(table, max))
    rows = rows[rows["method"] == "linearized"]
    return exceeds(rows.groupby("seed")["pearson"].min().tolist(), 0.9, f"width {rows['width'].iloc[0]}, correlation")


@claim(
    "For a narrow network it does not.",
    kind="book", source="a pilot run of this book", table=_RETRAINING, figure="fig-si-width",
    note="Narrow networks differ widely between seeds: some train at the edge of stability, where two runs part "
    "whatever was left out. More seeds would narrow the interval, and smaller steps would tell width from "
    "instability.",
)  # fmt: skip
def narrow_networks_do_not(table: Table) -> Decision:
    """At the smallest width the smaller of Pearson's correlations, for weights and for predictions, stays below .9."""
    rows = agreement(_width(table, min))
    rows = rows[rows["method"] == "linearized"]
    return stays_below(
        rows.groupby("seed")["pearson"].min().tolist(), 0.9, f"width {rows['width'].iloc[0]}, correlation"
    )


@claim(
    "The horizon of training has to be matched: to the end, the closed form describes another network.",
    kind="book", source="a pilot run of this book", table=_RETRAINING, figure="fig-si-methods",
    note="One task and few seeds were tried. More seeds would decide it.",
)  # fmt: skip
def horizon_matters(table: Table) -> Decision:
    """At the largest width Pearson's correlation of predictions at the horizon minus that to the end exceeds 0."""
    rows = agreement(_width(table, max))
    gain = _pearson(rows, "linearized") - _pearson(rows, "linearized, to the end")
    return exceeds(gain.tolist(), 0.0, "gain of the right horizon")


@claim(
    "The closed form agrees better with retraining than influence functions at the trained weights.",
    kind="paper", source=_PAPER, table=_RETRAINING, figure="fig-si-methods", thesis_number=".993 against .920",
    note="The damping of the influence function is chosen by the answer itself, an advantage that no user has, and "
    "on a wide network both scores are close to retraining. More seeds, and networks of medium width, would "
    "decide it.",
)  # fmt: skip
def better_than_influence(table: Table) -> Decision:
    """At the largest width Pearson's correlation of predictions minus that of the best influence function exceeds 0."""
    rows = agreement(_width(table, max))
    influence = best_influence(rows)
    influence = influence[influence["target"] == "predictions"].set_index("seed")["pearson"]
    return exceeds((_pearson(rows, "linearized") - influence).tolist(), 0.0, "gain over the best damping")


@claim(
    "Regularization improves the agreement.",
    kind="paper", source=_PAPER, table=_RETRAINING, figure="sec-si-ridge",
    thesis_number=".993 against .993; pretrained convolutional: .974 against .875",
    note="The gain is clear at one width and uncertain at another, where agreement without weight decay changes from"
    " seed to seed. More seeds would decide it.",
)  # fmt: skip
def regularization_helps(table: Table) -> Decision:
    """At each width Pearson's correlation of predictions with weight decay minus that without exceeds 0."""
    ridge, plain = (agreement(panel(table, name)) for name in ("ridge", "width"))
    return in_each(
        exceeds(
            (_pearson(part, "linearized") - _pearson(plain[plain["width"] == width], "linearized")).tolist(),
            0.0,
            f"width {width}, gain",
        )
        for width, part in ridge.groupby("width")
    )


@claim(
    "The paper's fully connected network on MNIST 4 against 9 agrees with its linearization.",
    kind="paper", source=f"{_DIRECTION}; a smaller version in this profile", table=_RETRAINING, figure="sec-si-paper",
    thesis_number=".977 to .993",
    note="`quick` trains on fewer examples than the paper and leaves out far fewer, with few seeds. The panel of "
    "`full` has the paper's numbers and would decide it.",
)  # fmt: skip
def paper_network_agrees(table: Table) -> Decision:
    """With and without weight decay the smaller correlation, for weights and for predictions, exceeds .9."""
    rows = agreement(panel(table, "mlp"))
    rows = rows[rows["method"] == "linearized"]
    return in_each(
        exceeds(part.groupby("seed")["pearson"].min().tolist(), 0.9, f"weight decay {decay:g}, correlation")
        for decay, part in rows.groupby("weight_decay")
    )


@claim(
    "A convolutional network agrees with its linearization if it was pretrained, and not from scratch.",
    kind="paper", source=_PAPER, table=_RETRAINING, figure="sec-si-paper", thesis_number=".875 against .033",
    note="`quick` trains one network of each kind, so there is no interval; Fashion-MNIST stands in for the paper's "
    "letters. More seeds would decide it.",
)  # fmt: skip
def pretraining_helps(table: Table) -> Decision:
    """Pearson's correlation of predictions, pretrained minus from scratch and without weight decay, exceeds 0."""
    values = []
    for name in ("cnn_pretrained", "cnn"):
        rows = agreement(panel(table, name))
        values.append(_pearson(rows[rows["weight_decay"] == 0], "linearized"))
    return exceeds((values[0] - values[1]).tolist(), 0.0, "gain of pretraining")


@claim(
    "F-SI ranks flipped labels first, on pullovers against coats with an area under the ROC curve above .85.",
    kind="book", source=_DIRECTION, table=_DETECTION, figure="fig-si-mislabelled",
    note="The threshold is ours, from a pilot run. More seeds would decide it.",
)  # fmt: skip
def finds_mislabelled_hard(table: Table) -> Decision:
    """The area under the ROC curve of F-SI, trained to the end with a ridge, exceeds .85."""
    return _area(table, (2, 4), 0.85)


@claim(
    "F-SI ranks flipped labels first, on sandals against sneakers with an area under the ROC curve above .93.",
    kind="book", source=_DIRECTION, table=_DETECTION, figure="fig-si-mislabelled",
    note="The threshold is ours, from a pilot run, and the few seeds spread as far as the mean is above it. More "
    "seeds would decide it.",
)  # fmt: skip
def finds_mislabelled_easy(table: Table) -> Decision:
    """The area under the ROC curve of F-SI, trained to the end with a ridge, exceeds .93."""
    return _area(table, (5, 7), 0.93)


@claim(
    "The residual of the left-out example finds flipped labels as well as F-SI does.",
    kind="book", source="a pilot run of this book", table=_DETECTION, figure="fig-si-mislabelled",
    note="Tried on several tasks with the same flips for both scores. More seeds would decide the tasks in doubt.",
)  # fmt: skip
def residuals_do_as_well(table: Table) -> Decision:
    """In each task the area of the left-out residual minus that of F-SI, paired by seed, exceeds -.02."""
    rows = _experiment(table, "mislabelled")
    return in_each(
        exceeds(np.subtract(part["auc_left_out_residual"], part["auc_f_si"]), -0.02, f"{name}, difference of areas")
        for name, part in _tasks(rows)
    )


@claim(
    "Examples of an under-sampled sub-class have more F-SI than those of the common one.",
    kind="paper", source=_PAPER, table=_DETECTION, figure="fig-si-ratios",
    note="Several choices of classes were tried, and they do not agree: coats that hide among pullovers look much "
    "like them. The paper's own task, cats among dogs, was not run and would be the test.",
)  # fmt: skip
def rare_subclass(table: Table) -> Decision:
    """In each choice of classes the logarithm of mean F-SI of rare over common examples exceeds 0."""
    rows = _experiment(table, "subclass")
    return in_each(exceeds(np.log(part["ratio"]), 0.0, f"{name}, log ratio") for name, part in _tasks(rows))


@claim(
    "Distinct images have more F-SI than jittered copies of a few.",
    kind="book", source="a pilot run of this book", table=_DETECTION, figure="fig-si-ratios",
    note="Jittered copies stand in for a redundant source. The paper mixes digits of two collections; that task was "
    "not run and would be the test.",
)  # fmt: skip
def diverse_source(table: Table) -> Decision:
    """In each task the logarithm of mean F-SI of distinct images over jittered copies exceeds 0."""
    rows = _experiment(table, "sources")
    return in_each(exceeds(np.log(part["ratio"]), 0.0, f"{name}, log ratio") for name, part in _tasks(rows))


@claim(
    "SI and F-SI differ qualitatively.",
    kind="book", source=_DIRECTION, table=_DETECTION, figure="sec-si-differ",
    note="On every task that we tried, the two rank examples almost alike. SI in the covariance of SGD instead of "
    "equal noise, or a network with many weights that move no prediction, would be the place to look.",
)  # fmt: skip
def si_differs(table: Table) -> Decision:
    """In each clean task Spearman's correlation of SI and F-SI at the task's horizon stays below .9."""
    rows = _experiment(table, "clean")
    return in_each(stays_below(part["spearman_horizon"].tolist(), 0.9, name) for name, part in _tasks(rows))


@claim(
    "Adversarial training examples have more F-SI than others.",
    kind="book", source="direction: Harutyunyan (2023); setting and threshold: ours", table=_DETECTION,
    figure="fig-si-adversarial",
    note="Fully connected networks and one kind of attack were tried. A pretrained convolutional network on "
    "photographs was not, and would decide it.",
)  # fmt: skip
def adversarial(table: Table) -> Decision:
    """In each task the area under the ROC curve of F-SI, linearized at the trained weights, exceeds .5."""
    rows = _experiment(table, "adversarial")
    return in_each(exceeds(part["auc_f_si_trained"].tolist(), 0.5, f"{name}, area") for name, part in _tasks(rows))


@claim(
    "F-SI finds adversarial training examples better than the plain loss does.",
    kind="book", source="a question of this book", table=_DETECTION, figure="fig-si-adversarial",
    note="An attack raises the loss on purpose, so the loss is a hard rival, and on the fully connected networks "
    "that we tried it wins. Pretrained convolutional networks were not tried and would decide it.",
)  # fmt: skip
def adversarial_beats_loss(table: Table) -> Decision:
    """In each task the area of F-SI at the trained weights minus that of the plain loss exceeds 0."""
    rows = _experiment(table, "adversarial")
    return in_each(
        exceeds(np.subtract(part["auc_f_si_trained"], part["auc_loss"]), 0.0, f"{name}, difference of areas")
        for name, part in _tasks(rows)
    )


@claim(
    "A kernel over 2,000 random coordinates of each parameter tensor ranks examples as the full kernel does.",
    kind="book", source=_DIRECTION, table=_DETECTION, figure="fig-si-coordinates",
    note="The sampled kernel is close to the full one, and its ranking is not: a small ridge lets small eigenvalues "
    "decide. With more coordinates, or at the finite horizon of the task, the ranking comes back. The paper's "
    "larger networks would be the next test.",
)  # fmt: skip
def coordinates(table: Table) -> Decision:
    """Spearman's correlation of the F-SI ranking with that of the full kernel, ridge 1, exceeds .95."""
    rows = _experiment(table, "coordinates")
    values = []
    for row in rows.to_dict("records"):
        if 2000 not in row["coordinates"]:
            raise NotRun("no run with 2,000 coordinates")
        values.append(row["spearman"][list(row["coordinates"]).index(2000)])
    return exceeds(values, 0.95, "Spearman's correlation")


@claim(
    "Removing the least informative examples step by step is not worse than random removal, up to 80 %.",
    kind="book", source=_DIRECTION, table=_SUMMARIZATION, figure="fig-si-summaries",
    note="The rule allows one point of accuracy at the worst share, which few seeds may not resolve. More seeds "
    "would decide it.",
)  # fmt: skip
def iterative_summarization(table: Table) -> Decision:
    """In each task iterative minus random accuracy exceeds -.01 at the share, up to .8, where its mean is worst."""
    decisions = []
    for name, part in _summaries(table):
        shares = list(part["removed"].iloc[0])
        gain = np.array(part["iterative"].tolist()) - np.array(part["random"].tolist())
        worst = min((k for k, share in enumerate(shares) if 0 < share <= 0.8), key=lambda k: gain[:, k].mean())
        decisions.append(exceeds(gain[:, worst].tolist(), -0.01, f"{name}, {shares[worst]:.0%} removed, difference"))
    return in_each(decisions)


@claim(
    "Removing the least informative examples at once falls far below random removal at 95 %.",
    kind="book", source="a pilot run of this book", table=_SUMMARIZATION, figure="fig-si-summaries",
    note="Tasks differ in how far the accuracy falls, and few seeds leave one of them open. More seeds would decide "
    "it.",
)  # fmt: skip
def one_shot_collapses(table: Table) -> Decision:
    """In each task random minus one-shot bottom accuracy, with 95 % removed, exceeds .1."""
    decisions = []
    for name, part in _summaries(table):
        place = list(part["removed"].iloc[0]).index(0.95)
        loss = [row["random"][place] - row["bottom"][place] for row in part.to_dict("records")]
        decisions.append(exceeds(loss, 0.1, f"{name}, difference"))
    return in_each(decisions)


def _width(table: Table, which: Any) -> pd.DataFrame:
    rows = panel(table, "width")
    return rows[rows["width"] == which(rows["width"])]


def _pearson(rows: pd.DataFrame, method: str) -> pd.Series:
    """The correlations of predictions by seed."""
    part = rows[(rows["method"] == method) & (rows["target"] == "predictions")]
    return part.set_index("seed")["pearson"].sort_index()


def _summaries(table: Table) -> list[tuple[str, pd.DataFrame]]:
    """The runs of each task and panel, by a name."""
    rows = table.panel(*table.panels).sort_values("seed")
    return [
        (f"{name} ({panel})", part) for panel, some in rows.groupby("panel", sort=False) for name, part in _tasks(some)
    ]


def _experiment(table: Table, name: str) -> pd.DataFrame:
    return table.panel(name).sort_values("seed")


def _tasks(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each task, by its name."""
    names = pd.Series([task_name(row) for row in rows.to_dict("records")], rows.index)
    return list(rows.groupby(names, sort=False))


def _area(table: Table, classes: tuple[int, int], threshold: float) -> Decision:
    rows = _experiment(table, "mislabelled")
    rows = rows[(rows["data"] == "fashion-mnist") & (rows["classes"].map(tuple) == classes)]
    return exceeds(rows["auc_f_si"].tolist(), threshold, "area under the ROC curve")
