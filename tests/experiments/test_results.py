"""Choices, summaries and figures of part 1, on made-up results: no network is trained."""

import ast
from dataclasses import asdict
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from infocap.experiments.catalogue import CATALOGUE, Book
from infocap.experiments.noisy_labels import results
from infocap.study import plots
from infocap.study.cells import fields
from infocap.study.store import Record
from infocap.study.tables import NotRun, Table

SEVERAL = ["noisy_labels.pair.sizes=[160,200]", "noisy_labels.beta.rates=[0.5,0.8]", "noisy_labels.pair.seeds=[0,1]"]
NUMBERS = [
    "final_accuracy", "selected_accuracy", "peak_accuracy", "final_validation_accuracy", "memorized_fraction",
    "memorized_information", "auc", "auc_selected", "precision_at_100", "precision_at_100_selected", "realized_rate",
]  # fmt: skip

CHAPTER = Path(__file__).parents[2] / "book" / "noisy_labels" / "limit.ipynb"


@pytest.fixture(scope="module")
def table():
    panels = CATALOGUE.load_profile("smoke", SEVERAL).panels["noisy_labels/training"]
    cells = list(dict.fromkeys(cell for panel in panels.values() for cell in panel.cells))
    random = np.random.default_rng(0)
    rows = []
    for cell in cells:
        curves = ("test_accuracy", "memorized_fraction", "train_error", "train_loss")
        history = {"epoch": [1, 2, 5, 40]} | {name: random.random(4).tolist() for name in curves}
        values = dict(zip(NUMBERS, random.random(len(NUMBERS)), strict=True))
        rows.append(fields(cell) | values | {"noise_entropy": 1.8, "history": history})
    places = {name: [cells.index(cell) for cell in panel.cells] for name, panel in panels.items()}
    return Table("noisy_labels/training", "smoke", pd.DataFrame(rows), panels=places)


def test_a_family_has_no_tuned_numbers(table):
    main = results.panel(table, "main")
    names = main.groupby("family", sort=False)["label"].unique()
    assert set(names["LIMIT Laplace"]) == {"LIMIT Laplace, β=3", "LIMIT Laplace, β=10"}
    assert set(names["DMI"]) == {"DMI, lr 0.0001", "DMI, lr 1e-05"}
    assert list(names["cross-entropy, small steps"]) == ["cross-entropy, lr 1e-05"]
    assert set(names["LIMIT Laplace, initialized"]) == {"LIMIT Laplace, β=10, initialized"}
    assert not any(character.isdigit() for name in names.index for character in name)


def test_the_best_variant_is_chosen_by_noisy_validation_alone(table):
    main = results.panel(table, "main")
    main["final_validation_accuracy"] = np.where(main["label"] == "LIMIT Laplace, β=3", 0.9, 0.5)
    main["final_accuracy"] = np.where(main["label"] == "LIMIT Laplace, β=3", 0.1, 0.8)
    kept = results.best(main)
    assert set(kept.loc[kept["family"] == "LIMIT Laplace", "label"]) == {"LIMIT Laplace, β=3"}
    assert (kept.groupby("family")["label"].nunique() == 1).all()
    assert (kept.groupby("family").size() == main["data_seed"].nunique()).all()


def test_the_choice_is_made_for_each_size(table):
    pair = results.panel(table, "pair")
    kept = results.best(pair)
    assert sorted(kept["n"].unique()) == [160, 200]
    assert len(kept) == len(pair)  # one variant each


SAME = ["n", "rate", "method", "beta", "learning_rate", "weight_decay", "dropout", "data_seed"]
OFF = {"noise_std": 0.0, "warm_up": 0, "initialized": False}


@pytest.mark.parametrize("name", ["smoke", "quick", "full"])
@pytest.mark.parametrize("favourite", [3.0, 10.0, 30.0])
def test_an_option_stands_beside_the_same_run_without_it(name, favourite):
    """Whatever beta noisy validation prefers: what is compared differs in the option alone."""
    cells = CATALOGUE.load_profile(name).panels["noisy_labels/training"]["main"].cells
    rows = results.labelled(pd.DataFrame([asdict(cell) for cell in cells]))
    rows["final_validation_accuracy"] = (rows["beta"] == favourite).astype(float) + rows["initialized"] / 2
    shown = results.options(rows)
    off = (shown[list(OFF)] == list(OFF.values())).all(axis=1)
    with_option, without = shown[~off], shown[off]
    assert set(with_option["family"]) == {
        label for label in rows["family"] if label.startswith("LIMIT") and ", " in label
    }
    pairs = with_option.merge(without, on=SAME, suffixes=("", "_without"))
    assert len(pairs) == len(with_option)  # each has its partner, with the same seeds
    used = {tuple(row) for row in with_option[SAME].values}
    assert all(tuple(row) in used for row in without[SAME].values)  # and nothing else is shown


def test_an_option_without_a_partner_is_not_run(table):
    main = results.panel(table, "main")
    lacking = main[main["label"] != "LIMIT Laplace, β=10"]
    with pytest.raises(NotRun, match="no run of LIMIT Laplace at beta 10 without its option"):
        results.options(lacking)


def test_a_panel_that_was_not_run_says_so(table):
    with pytest.raises(NotRun, match="cifar100"):
        results.panel(table, "cifar100")


def test_report_puts_the_best_first(table):
    pair = results.panel(table, "pair")
    shown = results.report(pair, columns={"final_accuracy": "last epoch"})
    assert list(shown.columns) == ["n", "method", "last epoch"]
    for n, part in shown.groupby("n"):
        means = [float(text.split()[0]) for text in part["last epoch"]]
        assert means == sorted(means, reverse=True)
        assert len(part) == pair.loc[pair["n"] == n, "label"].nunique()


def test_two_methods_of_one_name_are_not_averaged(table):
    pair = results.panel(table, "pair")
    with pytest.raises(ValueError, match="rows: two runs of '.+' with one seed; accepted: other names"):
        results.report(pair, pair, columns={"final_accuracy": "last epoch"})


def test_ranking_text():
    rows = pd.DataFrame({"label": ["a", "a", "b"], "accuracy": [0.5, 0.7, 0.9]})
    assert results.ranking_text(rows, "accuracy") == "b (0.900), a (0.600)"
    assert results.ranking_text(rows, "accuracy", 1) == "b (0.900)"


def test_stopped_early_means_the_selected_checkpoint(table):
    main = results.panel(table, "main")
    found = results.detection(results.best(main))
    plain = main[main["label"] == "cross-entropy"].sort_values("data_seed")
    early = found[found["scorer"] == "cross-entropy, stopped early"].sort_values("data_seed")
    assert early["auc"].tolist() == plain["auc_selected"].tolist()
    assert found["scorer"].nunique() == 5


def test_coverage_counts_what_the_store_holds(tmp_path):
    before = results.coverage(Book("quick", store=tmp_path)).set_index("panel")
    full = Book("full", store=tmp_path)
    assert before.loc["cifar100", "status"] == "not run in this profile"
    assert before.loc["clothing1m", "status"] == "not run in this profile"
    assert before.loc["main", "status"] == "smaller version run, on fashion-mnist"
    panels = full.profile.panels["noisy_labels/training"]
    assert before.loc["main", "trainings"] == len(panels["main"].cells)
    assert (before["computed so far"] == 0).all()
    cells = panels["high_noise_small"].cells
    keys = {task.cell: task.key for task in CATALOGUE.work("noisy_labels/training", full.profile)}
    for number, cell in enumerate(cells):
        full.store.put(keys[cell], Record("noisy_labels/training", fields(cell), {}, {}))
        row = results.coverage(full).set_index("panel").loc["high noise small"]
        assert row["computed so far"] == number + 1
        assert row["status"] == ("run" if number + 1 == len(cells) else "partly run")


def linear(rows):
    return rows.iloc[:1].assign(network="linear")


def test_histories_by_hand(table):
    rows = table.panel("memorization").assign(noise_entropy=2.0)
    history = results.histories(rows)
    assert len(history) == 4 * len(rows)
    first = history.iloc[0]
    error = first["train_error"]
    coin = -error * np.log(error) - (1 - error) * np.log(1 - error)
    assert first["by_errors"] == pytest.approx(max(0, 2 - coin - error * np.log(9)))
    assert first["by_loss"] == pytest.approx(max(0, 2 - first["train_loss"]))
    # own rows stand beside the book's, whatever their order
    own = results.histories(rows.iloc[:1].assign(method="mine"), rows)
    assert len(own) == 4 * (len(rows) + 1) and "mine" in set(results.at_the_end(own)["method"])
    # the book's method with an own network is not a run more of the book's
    alone, both = (results.at_the_end(results.histories(*parts)) for parts in ((rows,), (rows, linear(rows))))
    assert "network" not in alone and len(both) == len(alone) + 1
    assert both.loc[both["network"] == "linear", "runs"].tolist() == [1]


def test_the_papers_message_beside_the_numbers(table):
    shares = {"cross-entropy": 0.96, "cross-entropy, dropout 0.5": 0.11, "cross-entropy, weight decay 0.001": 0.94}
    rows = results.panel(table, "memorization")
    histories = []
    for label in rows["label"]:
        share = shares.get(label, 0.5 if "β=10" not in label else 0.2)
        histories.append({"label": label, "epoch": 1, "by_errors": 0.0, "test_accuracy": 0.7})
        histories.append({"label": label, "epoch": 2, "by_errors": 2 * share, "test_accuracy": 0.6})
    history = pd.DataFrame(histories).merge(rows[["label", "family"]]).assign(noise_entropy=2.0)
    found = dict(results.comparison(history).values)
    assert list(found.values()) == [
        "at least 96 %",
        "at least 11 % against 20 %",
        "at least 94 % against 20 %",
        "test accuracy 0.60 at the end, 0.70 at its best",
    ]
    alone = results.comparison(history[history["family"] == "cross-entropy"])
    assert len(alone) == 1  # a panel with fewer methods says less


def test_the_setting_in_words(table):
    text = results.setting_text(results.panel(table, "pair"))
    assert text.startswith("160 and 200 training images of fashion-mnist, pair noise of rate 0.4, network `mlp` with")
    assert "2 seeds each" in text and "1 seed each" in results.setting_text(table.panel("memorization"))


def test_settings_are_told_apart_where_there_are_several(table):
    alone, several = (results.settings(results.panel(table, name)) for name in ("clean", "pair"))
    assert [title for title, _ in alone] == [""]
    assert [title for title, _ in several] == ["n = 160, noise rate 0.4", "n = 200, noise rate 0.4"]
    assert [set(part["n"]) for _, part in several] == [{160}, {200}]


def test_the_most_suspicious_image_comes_first():
    labels = np.array([0, 3, 9, 1])
    arrays = {
        "score": np.array([0.1, 0.9, 0.2, 0.9]),
        "rows": np.array([50, 60, 70, 80]),
        "noisy_labels": labels,
        "clean_labels": labels[::-1],
    }
    table = Table("made up", "quick", pd.DataFrame({"data": ["mnist", "fashion-mnist"]}), arrays=[{}, arrays])
    found = results.suspicious(table, 1, count=3)
    assert found["image"].tolist() == [60, 80, 70]  # the first of two equal scores comes first
    assert found[["given", "true"]].values.tolist() == [
        ["Dress", "Ankle boot"], ["Trouser", "T-shirt/top"], ["Ankle boot", "Dress"],
    ]  # fmt: skip


def drawn(table, *names):
    """Runs cells of the chapter on made-up results, and returns what the last one shows."""
    cells = {cell.id: cell.source for cell in nbformat.read(CHAPTER, as_version=4).cells}
    known = {"training": table, "profile": "smoke", "results": results, "plots": plots, "Markdown": str}
    for name in ("main-rows", "drawing", "curves-drawing", *names):
        body = ast.parse(cells[name]).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), name, "exec"), known)
        shown = last and eval(compile(ast.Expression(last.value), name, "eval"), known)
    return shown


def names_of(axes):
    return [text.get_text().replace("\n", " ") for text in axes.get_yticklabels()]


def test_the_figure_of_options_compares_like_with_like(table):
    """Each option stands beside the line with the same method and hyper-parameters, and without it."""
    [axes] = drawn(table, "options-figure").axes
    names = names_of(axes)
    options = [name for name in names if name.endswith(("sampled 0.1", "warm-up 5", "initialized"))]
    assert len(options) == 4
    without = {", ".join(name.split(", ")[:2]) for name in options}
    assert set(names) - set(options) == without and all("β=" in name for name in without)


@pytest.mark.parametrize(
    "cell, titles",
    [
        ("main-figure", [""]),
        ("pair-figure", ["n = 160, noise rate 0.4", "n = 200, noise rate 0.4"]),
        ("beta-figure", 2 * ["n = 160, noise rate 0.5"] + 2 * ["n = 160, noise rate 0.8"]),
        ("small-figure", ["", ""]),
    ],
)
def test_figures_draw_one_setting_and_several(table, cell, titles):
    figure = drawn(table, cell)
    assert [axes.get_title() for axes in figure.axes] == titles
    assert figure.get_supxlabel().startswith("profile smoke; ") and figure.axes[-1].get_xlabel()
    figure.canvas.draw()


def test_the_main_figure_shows_each_method_once_without_controls(table):
    [axes] = drawn(table, "main-figure").axes
    assert len(names_of(axes)) == table.panel("main")["method"].nunique()
    assert not any(word in name for name in names_of(axes) for word in ("dropout", "sampled", "decay", "noise"))
    bold = {text.get_text().split()[0] for text in axes.get_yticklabels() if text.get_fontweight() == "bold"}
    assert bold == {"LIMIT"}
