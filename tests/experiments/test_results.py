"""Choices, summaries and figures of the LIMIT chapter, on made-up results: no network is trained."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from infocap.experiments.noisy_labels import limit_figures, results, toys, training
from infocap.experiments.profiles import load_profile
from infocap.study.cells import fields, key
from infocap.study.claims import NotRun
from infocap.study.store import Record, Store
from infocap.study.tables import Table

SEVERAL = ["noisy_labels.pair.sizes=[160,200]", "noisy_labels.beta.rates=[0.5,0.8]", "noisy_labels.pair.seeds=[0,1]"]
NUMBERS = [
    "final_accuracy", "selected_accuracy", "peak_accuracy", "final_validation_accuracy", "memorized_fraction",
    "memorized_information", "auc", "auc_selected", "precision_at_100", "precision_at_100_selected", "realized_rate",
]  # fmt: skip


@pytest.fixture(scope="module")
def profile():
    return load_profile("smoke", SEVERAL)


@pytest.fixture(scope="module")
def table(profile):
    random = np.random.default_rng(0)
    rows, arrays = [], []
    for cell in dict.fromkeys(training.cells(profile)):
        history = {"epoch": [1, 2, 5, 40], "test_accuracy": random.random(4).tolist()}
        history["memorized_fraction"] = random.random(4).tolist()
        values = dict(zip(NUMBERS, random.random(len(NUMBERS)), strict=True))
        rows.append(fields(cell) | values | {"noise_entropy": 1.8, "history": history})
        labels = random.integers(0, 10, (2, 20))
        arrays.append(
            {"score": random.random(20), "rows": np.arange(20), "noisy_labels": labels[0], "clean_labels": labels[1]}
        )
    return Table("noisy_labels/training", profile.name, pd.DataFrame(rows), {}, arrays)


def test_a_family_has_no_tuned_numbers(table, profile):
    main = results.panel(table, profile, "main")
    names = main.groupby("family", sort=False)["label"].unique()
    assert set(names["LIMIT Laplace"]) == {"LIMIT Laplace, β=3", "LIMIT Laplace, β=10"}
    assert set(names["DMI"]) == {"DMI, lr 0.0001", "DMI, lr 1e-05"}
    assert list(names["cross-entropy, small steps"]) == ["cross-entropy, lr 1e-05"]
    assert set(names["LIMIT Laplace, initialized"]) == {"LIMIT Laplace, β=10, initialized"}
    assert not any(character.isdigit() for name in names.index for character in name)


def test_the_best_variant_is_chosen_by_noisy_validation_alone(table, profile):
    main = results.panel(table, profile, "main")
    main["final_validation_accuracy"] = np.where(main["label"] == "LIMIT Laplace, β=3", 0.9, 0.5)
    main["final_accuracy"] = np.where(main["label"] == "LIMIT Laplace, β=3", 0.1, 0.8)
    kept = results.best(main)
    assert set(kept.loc[kept["family"] == "LIMIT Laplace", "label"]) == {"LIMIT Laplace, β=3"}
    assert (kept.groupby("family")["label"].nunique() == 1).all()
    assert (kept.groupby("family").size() == len(profile.noisy_labels.main.seeds)).all()


def test_the_choice_is_made_for_each_size(table, profile):
    pair = results.panel(table, profile, "pair")
    kept = results.best(pair)
    assert sorted(kept["n"].unique()) == [160, 200]
    assert len(kept) == len(pair)  # one variant each


def test_a_panel_that_was_not_run_says_so(table, profile):
    with pytest.raises(NotRun, match="cifar100"):
        results.panel(table, profile, "cifar100")


def test_value_text():
    assert results.value_text([0.5]) == "0.500"
    assert results.value_text([1.0, 2.0, 3.0]) == "2.000 ±\N{NO-BREAK SPACE}2.484"  # 4.303 / sqrt 3


def test_report_puts_the_best_first(table, profile):
    pair = results.panel(table, profile, "pair")
    shown = results.report(pair, {"final_accuracy": "last epoch"})
    assert list(shown.columns) == ["n", "method", "last epoch"]
    for n, part in shown.groupby("n"):
        means = [float(text.split()[0]) for text in part["last epoch"]]
        assert means == sorted(means, reverse=True)
        assert len(part) == pair.loc[pair["n"] == n, "label"].nunique()


def test_ranking_text():
    rows = pd.DataFrame({"label": ["a", "a", "b"], "accuracy": [0.5, 0.7, 0.9]})
    assert results.ranking_text(rows, "accuracy") == "b (0.900), a (0.600)"
    assert results.ranking_text(rows, "accuracy", 1) == "b (0.900)"


def test_stopped_early_means_the_selected_checkpoint(table, profile):
    main = results.panel(table, profile, "main")
    found = results.detection(results.best(main))
    plain = main[main["label"] == "cross-entropy"].sort_values("data_seed")
    early = found[found["scorer"] == "cross-entropy, stopped early"].sort_values("data_seed")
    assert early["auc"].tolist() == plain["auc_selected"].tolist()
    assert found["scorer"].nunique() == 5


def test_coverage_counts_what_the_store_holds(tmp_path):
    store, full = Store(tmp_path), load_profile("full")
    before = results.coverage(store, load_profile("quick")).set_index("panel")
    assert before.loc["cifar100", "status"] == "not run in this profile"
    assert before.loc["clothing1m", "status"] == "not run in this profile"
    assert before.loc["main", "status"] == "smaller version run, on fashion-mnist"
    assert before.loc["main", "trainings"] == len(training.panel_cells(full, "main"))
    assert (before["computed so far"] == 0).all()
    from infocap import data

    cells = training.panel_cells(full, "high_noise_small")
    for number, cell in enumerate(cells):
        store.put(key(cell, data.checksum(cell.data)), Record("noisy_labels/training", fields(cell), {}, {}))
        row = results.coverage(store, full).set_index("panel").loc["high noise small"]
        assert row["computed so far"] == number + 1
        assert row["status"] == ("run" if number + 1 == len(cells) else "partly run")


@pytest.mark.parametrize("name", ["accuracies", "memorized", "controls", "curves"])
@pytest.mark.parametrize("panel", ["main", "pair", "high_noise"])
def test_figures_draw_one_setting_and_several(table, profile, name, panel):
    rows = results.best(results.panel(table, profile, panel))
    figure = getattr(limit_figures, name)(rows, profile.name)
    settings = len(rows.groupby(["n", "rate"]))
    assert len(figure.axes) == settings * (2 if name == "controls" else 1)
    assert f"profile {profile.name}" in figure.get_supxlabel()
    assert all(axes.get_xlabel() for axes in figure.axes[-1:])
    figure.canvas.draw()
    assert not plt.get_fignums()


def test_other_figures_draw(table, profile):
    frame = pd.DataFrame([{"toy": c.toy, "parameter": c.parameter, **toys.measure(c)} for c in toys.cells(profile)
                          if c.toy.startswith(("auxiliary", "variational"))])  # fmt: skip
    shown = results.best(results.panel(table, profile, "main"))
    sweep = results.panel(table, profile, "beta")
    for figure, axes in [
        (limit_figures.gradient_bounds(frame, profile.name), 1),
        (limit_figures.auxiliary_predictions(frame, profile.name), 2),
        (limit_figures.beta_sweep(sweep, profile.name), 4),
        (limit_figures.by_rate(shown[shown["method"].isin(["cross_entropy", "limit_laplace"])], profile.name), 1),
        (limit_figures.detections(results.detection(shown), profile.name), 1),
        (limit_figures.suspicious_images(table, int(shown["row"].iloc[0])), 12),
    ]:
        figure.canvas.draw()
        assert len(figure.axes) == axes


def test_the_most_suspicious_image_comes_first(table, profile):
    row = int(results.panel(table, profile, "main")["row"].iloc[0])
    arrays = table.arrays[row]
    worst = int(np.argmax(arrays["score"]))
    from infocap.data import class_names

    title = limit_figures.suspicious_images(table, row).axes[0].get_title()
    assert title.startswith(f"given: {class_names('fashion-mnist')[arrays['noisy_labels'][worst]]}\n")


def test_intervals_end_where_the_quantity_does():
    means, errors = limit_figures._means([[0.0, 0.4], [0.5, 0.5]], (0.0, 1.0))
    np.testing.assert_allclose(means, [0.2, 0.5])
    np.testing.assert_allclose(errors, [[0.2, 0.0], [0.8, 0.0]])
    assert limit_figures._means([[0.3]], (0.0, 1.0))[1] is None
