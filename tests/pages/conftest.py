"""Checks of the rendered book. Run `make check-pages` after `make book`.

They read `book/_build/html`, so they are not part of the plain test suite: `tests/pytest.ini` leaves this folder out
unless the command line names it.
"""

import gc
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


def pytest_addoption(parser):
    group = parser.getgroup("pages")
    group.addoption("--require-browser", action="store_true", help="fail, instead of skip, when there is no Chromium")
    group.addoption("--html", default=ROOT / "book/_build/html", type=Path, help="folder of the rendered book")


def find_browser():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pytest_terminal_summary(terminalreporter, config):
    if not (config.option.html / "index.html").exists():
        terminalreporter.line(f"pages: no rendered book in {config.option.html}; run `make book` first")
    elif find_browser() is None:
        terminalreporter.line(f"pages: no checks in a browser, because none of {', '.join(BROWSERS)} is installed")


@pytest.fixture(scope="session")
def html(request):
    folder = request.config.option.html.resolve()
    if not (folder / "index.html").exists():
        if request.config.option.require_browser:
            pytest.fail(f"no rendered book in {folder}; run `make book` first")
        pytest.skip("no rendered book")
    return folder


@pytest.fixture(scope="session")
def soups(html):
    """Every page of the book, parsed, by its path relative to the book."""
    gc.disable()  # it walks the millions of tags again and again, and all of them stay
    found = {name: BeautifulSoup((html / name).read_text("utf-8"), "html.parser") for name in list_names(html)}
    gc.freeze()
    gc.enable()
    return found


def list_names(html):
    """The path of every page relative to the book."""
    paths = [path.relative_to(html) for path in sorted(html.rglob("*.html"))]
    return [path.as_posix() for path in paths if "_static" not in path.parts]


@pytest.fixture(scope="session")
def pages(html):
    """Every page but the redirect to the first one; of the pages of source, which are made alike, two."""
    names = list_names(html)
    alike = [name for name in names if name.startswith("_modules/")]
    left_out = {"index.html", *alike} - {"_modules/index.html", "_modules/infocap/noise.html"}
    return [name for name in names if name not in left_out]


@pytest.fixture(scope="session")
def chapters(pages):
    """The pages a reader reads: everything except the search page and the source."""
    return [name for name in pages if name != "search.html" and not name.startswith("_modules/")]


@pytest.fixture(scope="session")
def chromium(request, html):
    path = find_browser()
    if path is None:
        if request.config.option.require_browser:
            pytest.fail("--require-browser, but no Chromium is installed")
        pytest.skip("no Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Tab:
    """One browser tab without a network, and what went wrong in it."""

    page: object
    html: Path
    problems: list = field(default_factory=list)

    def __post_init__(self):
        self.page.on(
            "console", lambda message: message.type == "error" and self.problems.append(f"console: {message.text}")
        )
        self.page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        self.page.on("requestfailed", lambda request: self.problems.append(f"failed request: {request.url}"))
        self.page.route(lambda url: not url.startswith(("file:", "data:", "blob:")), self.refuse)

    def refuse(self, route):
        self.problems.append(f"request to another host: {route.request.url}")
        route.abort()

    def open(self, name):
        self.page.goto((self.html / name).as_uri())
        self.page.wait_for_function("!window.MathJax?.startup || MathJax.startup.promise.then(() => true)")
        return self.page


@pytest.fixture
def tab(chromium, html):
    context = chromium.new_context(viewport=DESK, reduced_motion="reduce")
    yield Tab(context.new_page(), html)
    context.close()


@dataclass
class Visit:
    """What one page looked like, opened once from disk."""

    problems: list
    equations: int
    rendered: int
    raw_tex: list
    figures: list
    too_wide: list
    violations: dict


LIST_RAW_TEX = r"""() => {
  const found = [];
  const walker = document.createTreeWalker(document.querySelector("article") ?? document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("code, pre, script, style, mjx-container")) continue;
    if (/\\[(\[a-zA-Z]|\$[^$]+\$/.test(node.data)) found.push(node.data.trim().slice(0, 80));
  }
  const errors = [...document.querySelectorAll("mjx-merror, mjx-container [style*='color: red']")];
  return found.concat(errors.map(error => "MathJax error: " + error.textContent.slice(0, 80)));
}"""

LIST_FIGURES = """() => [...document.querySelectorAll("article img")].map(image => {
  const {backgroundColor: ground, filter} = getComputedStyle(image);
  return {src: image.getAttribute("src"), width: image.naturalWidth, ground, filter};
})"""

# An element may be wider than the page if one of its ancestors scrolls or clips it.
LIST_TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  const scrollWidth = Math.max(document.documentElement.scrollWidth, document.body.scrollWidth);
  if (scrollWidth <= width) return [];
  const held = element => {
    for (let e = element.parentElement; e && e !== document.body; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== "visible") return true;
    return false;
  };
  const sticksOut = element => element.getBoundingClientRect().right > width + 1 && !held(element);
  const wide = [...document.querySelectorAll("body *")].filter(sticksOut).slice(0, 5);
  return ["scroll width " + scrollWidth, ...wide.map(element => element.outerHTML.slice(0, 120))];
}"""

UNFOLD = """() => {
  document.querySelectorAll("article details").forEach(details => details.open = true);
  document.querySelectorAll("article .toggle-button-hidden").forEach(button => button.click());
  const still = "<style>* {transition: none !important; animation: none !important}</style>";
  document.head.insertAdjacentHTML("beforeend", still);
}"""


# Whether a word of code can be read depends on its classes and on those around it. A page has thousands of words and
# some ten kinds of them: the first of each kind stays an element, and what is linked, the others become plain text.
KEEP_ONE_OF_EACH_KIND = """() => {
  const seen = new Set();
  for (const word of document.querySelectorAll("article .highlight pre span:not(:has(*))")) {
    let kind = "";
    for (let e = word; !e.matches("article"); e = e.parentElement) kind += e.tagName + "." + e.className + " ";
    if (seen.has(kind) && !word.closest("a")) word.replaceWith(...word.childNodes);
    seen.add(kind);
  }
  document.querySelectorAll("article .highlight pre").forEach(block => block.normalize());
}"""


@pytest.fixture(scope="session")
def visits(chromium, html, pages):
    """Open every page once, half of them in each of two browsers."""
    with ThreadPoolExecutor(2) as pool:
        parts = pool.map(visit_all, [html] * 2, [pages[0::2], pages[1::2]])
        return {name: visit for part in parts for name, visit in part.items()}


def visit_all(html, names):
    """The visits by name of page; a thread needs a browser of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        context = browser.new_context(viewport=PHONE, reduced_motion="reduce", color_scheme="light")
        found = {name: visit(Tab(context.new_page(), html), name) for name in names}
        browser.close()
    return found


def visit(tab, name):
    """One page at phone width, then at desk width in light and in dark.

    Colours are judged at desk width; this takes longest. Pages of modules are made alike, so one of them stands for
    the others there.
    """
    from axe_playwright_python.sync_playwright import Axe

    def violations_of(kind, *rules, **others):
        options = {"resultTypes": ["violations"], "preload": False, "runOnly": {"type": kind, "values": rules}}
        return Axe().run(page, options=options | others).response["violations"]

    def all_but_colours():
        return violations_of("tag", *AXE_TAGS, rules={"color-contrast": {"enabled": False}})

    page = tab.open(name)
    page.evaluate(UNFOLD)
    page.evaluate(KEEP_ONE_OF_EACH_KIND)
    violations, too_wide = {"phone": all_but_colours()}, page.evaluate(LIST_TOO_WIDE)
    page.set_viewport_size(DESK)
    if not name.startswith("api/") or name in ("api/index.html", "api/noise.html"):
        violations["light"] = all_but_colours()
        violations["light"] += violations_of("rule", "color-contrast")
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        violations["dark"] = violations_of("rule", "color-contrast")
    result = Visit(
        problems=tab.problems,
        equations=page.locator("article .math").count(),
        rendered=page.locator("article .math mjx-container").count(),
        raw_tex=page.evaluate(LIST_RAW_TEX),
        figures=page.evaluate(LIST_FIGURES),
        too_wide=too_wide,
        violations=violations,
    )
    page.close()
    return result
