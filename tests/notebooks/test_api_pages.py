"""Every public module of the library has its page."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "book" / "api"
WITHOUT_PAGE = {
    "infocap.study.cli": "`python -m infocap --help` says what it does",
    "infocap.study.doctor": "`make doctor` says what it does",
}
# The book's own tables, figures and rules: chapters and scorecard describe them. Its entry, the catalogue, has a page.
EXPERIMENTS = re.compile(r"infocap\.experiments\.(?!catalogue$)")


def public_modules():
    for path in sorted((ROOT / "lib/infocap").rglob("*.py")):
        if re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            parts = path.relative_to(ROOT / "lib").with_suffix("").parts
            parts = [part for part in parts if part != "__init__"]
            if not any(part.startswith("_") for part in parts):
                yield ".".join(parts)


def test_every_public_module_has_its_page():
    pages = [path.read_text(encoding="utf-8") for path in API.glob("*.md")]
    documented = [name for page in pages for name in re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE)]
    expected = {name for name in public_modules() if not EXPERIMENTS.match(name)}
    assert expected >= WITHOUT_PAGE.keys()
    assert sorted(documented) == sorted(expected - WITHOUT_PAGE.keys())


def test_the_index_leads_to_every_page():
    index = (API / "index.md").read_text(encoding="utf-8")
    linked = dict(re.findall(r"\{doc\}`(\S+) <(\w+)>`", index))
    for name, page in linked.items():
        assert (API / f"{page}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert set(linked.values()) == {path.stem for path in API.glob("*.md")} - {"index"}
