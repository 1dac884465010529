"""A profile that cannot be used says which key, what came and what is accepted."""

from dataclasses import fields, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from infocap.experiments.catalogue import CATALOGUE
from infocap.study.profiles import Profile, ProfileError, load

PROFILES = {name: CATALOGUE.load_profile(name) for name in CATALOGUE.names()}
MAIN = "noisy_labels/training"


def main(*settings):
    return CATALOGUE.load_profile("smoke", settings).panels[MAIN]["main"].cells


def test_the_books_profiles():
    assert set(PROFILES) == {"smoke", "quick", "evidence", "full"}
    assert [PROFILES[name].computes for name in ("smoke", "quick", "evidence", "full")] == [True, True, False, True]
    assert PROFILES["full"].device == "cuda" and PROFILES["evidence"].device == PROFILES["quick"].device == "cpu"
    quick, evidence, full = (PROFILES[name] for name in ("quick", "evidence", "full"))
    for table in CATALOGUE.tables:
        assert quick.panels[table].keys() == evidence.panels[table].keys() <= full.panels[table].keys()
    assert "cifar100" in full.panels[MAIN] and "cifar100" not in quick.panels[MAIN]


LARGER = {"n", "test_size", "epochs", "steps", "draws", "views"}  # in evidence, than in quick


def at_least(cell, other):
    """Whether a cell is another one, or the same with more in it."""
    pairs = [(name, value, getattr(other, name)) for name, value in vars(cell).items()]
    return all(value == less or name in LARGER and value > less for name, value, less in pairs)


def test_evidence_runs_all_that_quick_shows_and_no_smaller():
    quick, evidence = PROFILES["quick"], PROFILES["evidence"]
    for table in CATALOGUE.tables:
        for panel, recipe in quick.panels[table].items():
            assert recipe.options == evidence.panels[table][panel].options
            left = list(evidence.panels[table][panel].cells)
            for cell in recipe.cells:
                larger = next((one for one in left if at_least(one, cell)), None)
                assert larger, f"evidence lacks {cell}"
                left.remove(larger)  # each stands for one cell of quick


def test_a_setting_changes_its_key_only():
    before, after = main(), main("noisy_labels.main.epochs=7", "noisy_labels.main.rates=[0.5]")
    assert after == tuple(replace(cell, epochs=7) for cell in before)
    changed = CATALOGUE.load_profile("smoke", ["noisy_labels.main.epochs=7"])
    others = {name: panel for name, panel in PROFILES["smoke"].panels[MAIN].items() if name != "main"}
    assert {name: changed.panels[MAIN][name] for name in others} == others
    assert {**changed.panels, MAIN: None} == {**PROFILES["smoke"].panels, MAIN: None}


def test_axes_make_a_grid_in_their_order():
    settings = ["sizes=[40, 80]", "rates=[0.2, 0.4]", "seeds=[1, 2]"]
    methods = 'methods=[{method="MAE"}, {method="LIMIT Laplace", beta=3}]'
    cells = main(*(f"noisy_labels.main.{text}" for text in [*settings, methods]))
    assert [(cell.n, cell.rate, cell.method, cell.order_seed) for cell in cells] == [
        (n, rate, method, seed)
        for n in (40, 80)
        for rate in (0.2, 0.4)
        for method in ("MAE", "LIMIT Laplace")
        for seed in (1, 2)
    ]
    assert {cell.beta for cell in cells} == {0.0, 3.0} and all(type(cell.beta) is float for cell in cells)
    assert all(cell.data_seed == cell.noise_seed == cell.init_seed == cell.order_seed for cell in cells)


def test_a_panel_with_an_empty_axis_is_not_run():
    assert main("noisy_labels.main.seeds=[]") == ()


@pytest.mark.parametrize("text", ["mnist", '"mnist"', "folder:/some where/x=y"])
def test_strings_need_no_quotes(text):
    assert main(f"noisy_labels.main.data={text}")[0].data == text.strip('"')


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "noisy_labels.main.epoch=3",
            "set: no key 'noisy_labels.main.epoch'; the nearest is 'noisy_labels.main.epochs'",
        ),
        ("qqq=3", "set: no key 'qqq'; the nearest is '"),
        ("name=mine", "set: no key 'name'; the nearest is '"),
        ("noisy_labels.main=3", "set: no key 'noisy_labels.main'; the nearest is '"),
        ("noisy_labels.main.n=30", "set: no key 'noisy_labels.main.n'; the nearest is '"),  # that is on the axis sizes
        ("noisy_labels.main.epochs", "set: got 'noisy_labels.main.epochs'; accepted: key=value"),
        ("noisy_labels.main.epochs=0", "noisy_labels.main.epochs: got 0; input should be greater than or equal to 1"),
        ("noisy_labels.main.epochs=two", "noisy_labels.main.epochs: got 'two'; input should be a valid integer"),
        ("noisy_labels.main.epochs=true", "noisy_labels.main.epochs: got True; input should be a valid integer"),
        ("noisy_labels.main.epochs=", "noisy_labels.main.epochs: got ''; input should be a valid integer"),
        ("noisy_labels.main.augment=1", "noisy_labels.main.augment: got 1; input should be a valid boolean"),
        ("noisy_labels.main.widths=[0]", "noisy_labels.main.widths.0: got 0; input should be greater than or equal to"),
        (
            "noisy_labels.main.rates=[1.5]",
            "noisy_labels.main.rates.0: got 1.5; input should be less than or equal to 1",
        ),
        ("noisy_labels.main.rates=0.5", "noisy_labels.main.rates: got 0.5; accepted: a list"),
        ("noisy_labels.main.rates=[nan]", "noisy_labels.main.rates.0: got nan; accepted: a finite number"),
        ("noisy_labels.main.network=vit", "noisy_labels.main.network: got 'vit'; network: no network 'vit'; accepted"),
        ("noisy_labels.main.network=cnn", "noisy_labels.main: dropout: got 0.5; accepted: 0 with network 'cnn'"),
        ("noisy_labels.pair.data=mnist", "noisy_labels.pair: noise: got 'pair'; accepted: for fashion-mnist and cifar"),
        ("device=tpu", "device: got 'tpu'; accepted: cpu, cuda"),
        ("noisy_labels.main.methods=[3]", "noisy_labels.main.methods.0: got 3; accepted: a table of fields"),
        (
            "noisy_labels.main.methods=[{method='MAE'}, {method='LIMIT Laplas'}]",
            "noisy_labels.main.methods.1.method: got 'LIMIT Laplas'; method: no method 'LIMIT Laplas'; accepted: ",
        ),
        (
            "noisy_labels.main.methods=[{method='MAE', beta=-1}]",
            "noisy_labels.main.methods.0.beta: got -1; input should be greater than or equal to 0",
        ),
        (
            "noisy_labels.main.methods=[{method='MAE', bta=1}]",
            "noisy_labels.main.methods.0.bta: got 1; no such key; accepted: ",
        ),
        ("noisy_labels.main.methods=[{beta=1}]", "noisy_labels.main.method: missing"),
    ],
)
def test_refused_settings(setting, message):
    with pytest.raises(ProfileError) as caught:
        main(setting)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ProfileError, match="profile: no profile 'quik'; accepted: evidence, full, quick, smoke"):
        CATALOGUE.load_profile("quik")


@given(
    st.text(min_size=1).filter(lambda key: "=" not in key), st.sampled_from(["", "noisy_labels.", "noisy_labels.main."])
)
def test_random_keys_are_refused(key, prefix):
    names = {field.name for field in fields(CATALOGUE.tables[MAIN].Cell)}
    assume(f"{prefix}{key}" != "device" and key not in {*names, *CATALOGUE.tables[MAIN].GRID})
    with pytest.raises(ProfileError, match="no key"):
        main(f"{prefix}{key}=1")


@pytest.fixture
def toy(package):
    """Reads profiles of one table from texts by name."""
    tables, folder = {"toy/table": package.load()}, package.path / "texts"
    folder.mkdir()

    def read(name, **texts):
        for profile, text in texts.items():
            (folder / f"{profile}.toml").write_text(text)
        return load(tables, folder, name)

    return read


BASE = "[toy.table.main]\nxs = [1, 2]\nseeds = [0]\n"


def test_a_profile_extends_another_and_states_what_differs(toy):
    more = 'extends = "base"\ndevice = "cuda"\n[toy.table.main]\nseeds = [5]\n[toy.table.more]\nxs = [7]\nseeds = [0]\n'
    first, second = toy("base", base=BASE), toy("more", more=more)
    assert [(cell.x, cell.seed) for cell in first.cells("toy/table")] == [(1, 0), (2, 0)]
    assert [(cell.x, cell.seed) for cell in second.cells("toy/table")] == [(1, 5), (2, 5), (7, 0)]
    assert (first.device, second.device, second.name) == ("cpu", "cuda", "more") and set(first.panels["toy/table"]) == {
        "main"
    }


def test_what_a_section_states_all_its_panels_share_unless_they_state_it(toy):
    text = "[toy.table]\nseeds = [3]\n[toy.table.one]\nxs = [1]\n[toy.table.two]\nxs = [1, 2]\nseeds = [4]\n"
    profile = toy("base", base=text)
    assert [(cell.x, cell.seed) for cell in profile.cells("toy/table")] == [(1, 3), (1, 4), (2, 4)]


def test_a_cell_of_two_panels_comes_once(toy):
    profile = toy("base", base=BASE + "[toy.table.other]\nxs = [2, 3]\nseeds = [0]\n")
    assert [cell.x for cell in profile.cells("toy/table")] == [1, 2, 3]
    assert isinstance(profile, Profile) and len(profile.panels["toy/table"]["other"].cells) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "nobody"', "extends: no profile 'nobody'; accepted: other"),
        ('extends = "base"', "extends: no profile 'base'; accepted: other"),  # itself
        ('extends = "other"', "extends: no profile 'base'; accepted: "),  # which extends base
        ("[toy.tabel.main]\nxs = [1]", "toy.tabel; no such key; accepted: table"),
        ("[toi.table.main]\nxs = [1]", "toi; no such key; accepted: device, computes, toy"),
        ("name = 3", "name: got 3; no such key; accepted: device, computes, toy"),
        ("computes = 3", "computes: got 3; accepted: true, false"),
        ("toy = 3", "toy: got 3; accepted: a table"),
        ("[toy.table]\ny = 1\n[toy.table.main]\nxs = [1]", "toy.table.main.y: got 1; no such key; accepted: seeds, xs"),
        ("[toy.table.main]\nseeds = [1]", "toy.table.main.xs: missing"),
        ("x = [", "not a TOML file"),
    ],
)
def test_files_that_are_refused(toy, text, message):
    with pytest.raises(ProfileError) as caught:
        toy("base", base=text, other='extends = "base"')
    assert message in str(caught.value) and "\n" not in str(caught.value)


@given(st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
def test_random_keys_in_a_file_are_refused(content):
    from infocap.study.profiles import _checked

    assume(not set(content) & {"device", "computes", "noisy_labels"})
    with pytest.raises(ProfileError, match="no such key; accepted: device, computes, noisy_labels"):
        _checked(CATALOGUE.tables, "smoke", {"device": "cpu", **content})
