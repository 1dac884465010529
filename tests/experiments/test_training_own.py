"""Part 1: which code enters the key of a run, and how do a reader's own method and images run?"""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from infocap.experiments.catalogue import CATALOGUE
from infocap.experiments.noisy_labels import results, training
from infocap.experiments.noisy_labels.methods import METHODS
from infocap.experiments.noisy_labels.training import measure
from infocap.study.book import BookTable
from infocap.study.cells import code_fingerprint
from infocap.study.sweep import SweepError

CELL = CATALOGUE.load_profile("smoke").panels["noisy_labels/training"]["main"].cells[0]  # plain cross-entropy


def test_a_method_and_a_network_enter_the_keys_of_their_own_cells_only():
    base = code_fingerprint(training.__name__)
    for name in METHODS:
        own = METHODS.module(name)
        assert replace(CELL, method=name).code() == [own, "infocap.networks.mlp"]
        assert code_fingerprint(training.__name__, own) != base  # so the table's own module imports it nowhere
        others = {METHODS.module(other) for other in METHODS} - {own}
        for other in others:
            assert code_fingerprint(training.__name__, own, other) != code_fingerprint(training.__name__, own)
    assert code_fingerprint(training.__name__, "infocap.networks.mlp") != base


FEW = "noisy_labels.main.methods=[{method='cross-entropy',weight_decay=0.1},{method='LIMIT Laplace',beta=3}]"


@pytest.fixture
def table_of_the_book():
    panels = CATALOGUE.load_profile("smoke", [FEW, "noisy_labels.main.seeds=[0]"]).panels["noisy_labels/training"]
    return BookTable("noisy_labels/training", "smoke", pd.DataFrame(), module=training, recipes=panels)


def linear(image, num_outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(math.prod(image), num_outputs))


def as_cross_entropy(cell, split):
    return training.train(cell, split, training.network(cell, split), cross_entropy)


def test_an_own_method_runs_on_the_data_noise_and_seeds_of_a_panel(table_of_the_book, capsys):
    [row] = table_of_the_book.also(as_cross_entropy, jobs=1).to_dict("records")
    assert row["method"] == "as_cross_entropy" and row["weight_decay"] == 0  # no option of another method
    cell = replace(table_of_the_book.cells("main")[0], method="cross-entropy", weight_decay=0.0)
    assert row["history"] == measure(cell)["history"]
    assert "computed here, not stored" in capsys.readouterr().out


@pytest.mark.parametrize("returned", [None, cross_entropy])
def test_a_method_that_returns_no_fit_is_refused(table_of_the_book, returned):
    def forgetful(cell, split):
        return returned

    name = type(returned).__name__
    with pytest.raises(SweepError, match=f"method: 'forgetful' returned {name}; accepted: the Fit that train returns"):
        table_of_the_book.also(forgetful, jobs=1)


def test_what_a_field_does_not_accept_is_refused_before_a_run(table_of_the_book):
    for change in ({"noise": "pears"}, {"epochs": 0}, {"rate": 2.0}, {"n": "many"}):
        [(field, value)] = change.items()
        with pytest.raises(ValueError, match=f"{field}: got {value!r}; input should"):
            table_of_the_book.also(as_cross_entropy, jobs=1, **change)


def test_an_own_network_is_trained_by_the_books_methods(table_of_the_book):
    rows = table_of_the_book.also("LIMIT Laplace", network=linear, jobs=1)
    assert rows["network"].tolist() == ["linear"] and rows["method"].tolist() == ["LIMIT Laplace"]
    shown = results.report(rows, rows.assign(network="mlp"))
    assert shown["network"].tolist() == ["linear", "mlp"] and shown["method"].nunique() == 1
    with pytest.raises(SweepError, match="dropout: got 0.5; accepted: 0 with network 'linear', which has none"):
        table_of_the_book.also("LIMIT Laplace", network=linear, jobs=1, dropout=0.5)

    def loose(image):
        return torch.nn.Identity()

    with pytest.raises(SweepError, match="network: got 'loose'; accepted: an nn.Sequential that ends in an nn.Linear"):
        table_of_the_book.also("soft penalty", network=loose, jobs=1)


@pytest.mark.parametrize("size", [8, 11])
def test_own_images_may_have_other_classes_sizes_and_colours(table_of_the_book, tmp_path, size):
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 20)):
        for level, name in enumerate("abc"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = 80 * level + random.integers(0, 60, (size, size, 3))
                Image.fromarray(pixels.astype("uint8")).save(folder / f"{number}.png")
    name = f"folder:{tmp_path}"
    rows = table_of_the_book.also("LIMIT Laplace", data=name, n=100, epochs=30, jobs=1)
    assert rows["data"].tolist() == [name] and rows["final_accuracy"].min() > 0.5  # three classes
    assert rows["noise_entropy"].tolist() == pytest.approx([1.5 * math.log(2)])  # h(1/2) + 1/2 ln 2
    with pytest.raises(SweepError, match="n: got 160; accepted: up to 144, a quarter more is needed for validation"):
        table_of_the_book.also("LIMIT Laplace", data=name, jobs=1)
