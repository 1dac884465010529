"""The whole book as one PDF: `make pdf` builds it on one page and prints that, without a network, in headless Chromium.

Proofs and solutions are unfolded, since paper has no button to open them. Code that is folded on the pages stays out;
of source that a chapter shows, the line that names its file stays.
"""

import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).parents[2] / "book/_build"
UNFOLD = """() => {
  document.querySelectorAll("article details:not(.hide, .source > *)").forEach(details => details.open = true);
  document.querySelectorAll("article .toggle-button-hidden").forEach(button => button.click());
  document.documentElement.dataset.theme = "light";
}"""
MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
FOOTER = """<div style="font: 8px sans-serif; width: 100%; text-align: center">
  <span class="pageNumber"></span> / <span class="totalPages"></span></div>"""


def test_print_the_book(tab):
    start = "from jupyter_book.cli.main import main; main()"  # it has no __main__
    command = [
        sys.executable,
        "-c",
        start,
        "build",
        BUILD / "stage",
        "--path-output",
        BUILD / "single",
        "-W",
        "-n",
        "-q",
    ]
    subprocess.run([*command, "--builder", "custom", "--custom-builder", "singlehtml"], check=True)
    tab.html = BUILD / "single/_build/singlehtml"
    (tab.html / "searchindex.js").touch()  # the search field asks for it, and this builder writes none
    tab.page.set_default_timeout(600_000)  # some thousand equations on one page
    page = tab.open("intro.html")
    page.evaluate(UNFOLD)
    assert page.locator("article .math").count() == page.locator("article .math mjx-container").count()
    target = BUILD / "pdf/infocap.pdf"
    page.pdf(
        path=target, format="A4", margin=MARGIN, outline=True, tagged=True, display_header_footer=True,
        header_template="<span></span>", footer_template=FOOTER,
    )  # fmt: skip
    assert tab.problems == []
