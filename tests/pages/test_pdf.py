"""What the PDF of the whole book must hold. `make pdf` makes it, and checks equations and requests while it prints."""

import re

import pytest


@pytest.fixture(scope="module")
def pdf(html):
    path = html.parent / "pdf/infocap.pdf"
    if not path.exists() or path.stat().st_mtime < (html / "index.html").stat().st_mtime:
        pytest.skip("no PDF of these pages; run `make pdf` first")
    return path.read_bytes()


def outline(pdf):
    """The titles that a viewer lists beside the pages, without spaces: a line break in a heading loses one."""
    plain = [text.decode("latin-1") for text in re.findall(rb"/Title \(((?:[^()\\]|\\.)*)\)", pdf)]
    wide = [bytes.fromhex(text.decode()).decode("utf-16") for text in re.findall(rb"/Title <([0-9A-F]+)>", pdf)]
    return [re.sub(r"\\(.)|\s", r"\1", text) for text in plain + wide]


def test_pdf_holds_every_chapter(pdf, soups, chapters):
    titles = outline(pdf)
    for name in chapters:
        heading = soups[name].select_one("article h1")
        heading.select_one("a.headerlink").extract()
        wanted = "".join(heading.get_text().split())
        assert [title for title in titles if title.startswith(wanted)], f"{name}: no {wanted!r} in the outline"
    assert len(re.findall(rb"/Type /Page\b", pdf)) > 5 * len(chapters)
