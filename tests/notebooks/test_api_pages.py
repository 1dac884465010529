"""Every public module has its page, and names lead to it."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "book" / "api"
WITHOUT_PAGE = {
    "infocap.study.cli": "`python -m infocap --help` says what it does",
    "infocap.study.doctor": "`make doctor` says what it does",
}
EXPERIMENTS = "infocap.experiments"  # all its modules are shown; of the others, those that list what they offer


@pytest.fixture(autouse=True)
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "book" / "_ext")


def modules():
    for path in sorted((ROOT / "lib/infocap").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "lib").with_suffix("").parts).removesuffix(".__init__")
        if "._" not in name:
            yield name, bool(re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.MULTILINE))


def below(package, without=()):
    names = [name for name, _ in modules() if f"{name}.".startswith(f"{package}.")]
    return [name for name in names if not any(f"{name}.".startswith(f"{package}.{left}.") for left in without)]


def shown(page):
    yield from re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE)
    for package, _, without in re.findall(r"^```\{package\} (\S+)\n(:without: (.*)\n)?```$", page, re.MULTILINE):
        yield from below(package, without.split())


def test_every_public_module_has_its_page():
    documented = [name for path in API.glob("*.md") for name in shown(path.read_text(encoding="utf-8"))]
    expected = {name for name, lists in modules() if lists and not f"{name}.".startswith(f"{EXPERIMENTS}.")}
    assert expected >= WITHOUT_PAGE.keys()
    assert sorted(documented) == sorted([*(expected - WITHOUT_PAGE.keys()), *below(EXPERIMENTS)])


def test_the_index_leads_to_every_page():
    index = (API / "index.md").read_text(encoding="utf-8")
    linked = dict(re.findall(r"\{doc\}`(\S+) <(\w+)>`", index))
    for name, page in linked.items():
        assert (API / f"{page}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert set(linked.values()) == {path.stem for path in API.glob("*.md")} - {"index"}


def test_a_package_shows_the_modules_that_its_folder_holds():
    from packages import public_modules

    assert sorted(public_modules(EXPERIMENTS)) == sorted(below(EXPERIMENTS))
    rest = public_modules(EXPERIMENTS, ["noisy_labels"])
    assert sorted(rest) == sorted(below(EXPERIMENTS, ["noisy_labels"]))
    assert rest[0] == EXPERIMENTS and len(rest) < len(below(EXPERIMENTS))


def test_a_table_in_a_docstring_is_shown_as_one():
    from packages import write_tables

    lines = ["Before.", "", "  | a | b |", "  |---|:-:|", "  | ``x`` | |", "", "| no | table", "", "|"]
    write_tables(None, "module", "name", None, {}, lines)
    head = ["  .. list-table::", "     :header-rows: 1"]
    rows = ["     * - a", "       - b", "     * - ``x``", "       - "]
    assert [line for line in lines if line.strip()] == ["Before.", *head, *rows, "| no | table", "|"]
    assert lines[2].strip() == "" and lines[-4].strip() == ""


@pytest.mark.parametrize(
    "name, page, full",
    [
        ("infocap.training.fit", "intro", "infocap.training.fit"),
        ("infocap.training.fit", "api/noise", "infocap.training.fit"),
        ("infocap.training.nothing", "intro", None),
        ("infocap.training", "intro", "infocap.training"),
        ("infocap.sample_information.leave_one_out", "intro", "infocap.sample_information.closed_form.leave_one_out"),
        ("fit", "intro", "infocap.training.fit"),
        ("fit", "api/noise", None),  # there it may be an argument
        ("losses", "intro", None),  # a field of a class
        ("interval", "intro", None),  # of the machinery
        ("shared", "intro", None),  # by two modules
        ("training", "intro", None),  # a module
        ("results.coverage", "intro", None),  # two parts have it
        ("results.coverage", "noisy_labels/limit", "infocap.experiments.noisy_labels.results.coverage"),
        ("tables.interval", "intro", "infocap.study.tables.interval"),
    ],
)
def test_a_name_in_prose_leads_where_it_can_mean_one_thing_only(name, page, full):
    from code_links import meant

    kinds = {
        "infocap.training": "module",
        "infocap.training.fit": "function",
        "infocap.training.Fit.losses": "attribute",
        "infocap.noise.shared": "function",
        "infocap.data.shared": "function",
        "infocap.sample_information.closed_form.leave_one_out": "function",
        "infocap.study.tables.interval": "function",
        "infocap.experiments.noisy_labels.results.coverage": "function",
        "infocap.experiments.generalization.results.coverage": "function",
    }
    assert meant(name, page, {full: SimpleNamespace(objtype=kind) for full, kind in kinds.items()}) == full
