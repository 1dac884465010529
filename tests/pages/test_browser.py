"""What a reader sees who opens the book from disk, with no network, in headless Chromium."""

import json

import pytest

# Faults of the theme that cannot be corrected from here. Each entry: rule, selector of the element, reason.
ALLOWED = []


def report(problems):
    assert not problems, "\n" + "\n".join(problems)


def test_pages_open_without_a_complaint(visits):
    report([f"{name}: {problem}" for name, visit in visits.items() for problem in visit.problems])


def test_equations_are_typeset(visits):
    assert sum(visit.equations for visit in visits.values()) > 0
    problems = [f"{name}: {text}" for name, visit in visits.items() for text in visit.raw_tex]
    problems += [
        f"{name}: {visit.rendered} of {visit.equations} equations"
        for name, visit in visits.items()
        if visit.rendered != visit.equations
    ]
    report(problems)


def test_figures_keep_a_light_ground_in_the_dark_theme(visits):
    expected = {"ground": "rgb(255, 255, 255)", "filter": "none"}
    report([f"{name}: {figure}" for name, visit in visits.items() for figure in visit.figures
            if not figure["width"] or expected.items() - figure.items()])  # fmt: skip


def test_pages_fit_a_phone(visits):
    report([f"{name}: {element}" for name, visit in visits.items() for element in visit.too_wide])


def is_allowed(rule, target):
    return any(rule == known and selector in target for known, selector, _ in ALLOWED)


@pytest.mark.parametrize("view", ["light", "dark", "phone"])
def test_pages_are_accessible(visits, view):
    problems = []
    for name, visit in visits.items():
        for violation in visit.violations.get(view, []):
            for node in violation["nodes"]:
                rule, target = violation["id"], str(node["target"][-1])
                if not is_allowed(rule, target):
                    problems.append(
                        f"{name}: {rule} at {target}: {node['html'][:120]} {node['failureSummary'][-200:]!r}"
                    )
    report(problems)


def test_search_finds_a_page(tab):
    page = tab.open("intro.html")
    page.locator(".search-button__button:visible").first.click()
    page.locator("#pst-search-dialog input[type=search]").fill("entropy")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a[href*='notation.html']")  # results arrive one after another
    page.locator("#search-results li a[href*='notation.html']").first.click()
    page.wait_for_selector("article h1:has-text('Notation')")
    assert tab.problems == []


def test_the_scorecard_is_saved_from_disk(tab):
    page = tab.open("scorecard.html")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="scorecard.json").click()
    assert waiting.value.suggested_filename == "scorecard.json"
    assert json.loads(waiting.value.path().read_text(encoding="utf-8"))[0]["claim"]
    assert not tab.problems


def test_theme_switch_is_remembered(tab):
    page = tab.open("intro.html")
    theme, seen = "document.documentElement.dataset.theme", set()
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(page.evaluate(theme))
    assert seen == {"light", "dark"}
    while page.evaluate(theme) != "dark":
        page.locator("button.theme-switch-button:visible").first.click()
    tab.open("notation.html")
    assert page.evaluate(theme) == "dark"
    assert tab.problems == []


FOCUS = """() => {
  const {tagName, className, innerText} = document.activeElement;
  return {tag: tagName, classes: String(className), text: (innerText ?? "").trim()};
}"""


def tab_stops(page, limit=400):
    """What Tab reaches, in order, until it comes back to the page's start or leaves it."""
    stops = []
    for _ in range(limit):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop["tag"] == "BODY":
            break
        stops.append(stop)
    return stops


def test_keyboard_reaches_everything(tab):
    page = tab.open("noisy_labels/exercises.html")
    stops = tab_stops(page)
    assert stops[0]["text"] == "Skip to main content"
    for classes in ("search-button", "theme-switch-button", "toggle-button"):
        assert [stop for stop in stops if classes in stop["classes"]], f"Tab never reaches {classes}"
    assert tab.problems == []


def test_keyboard_skips_the_sidebar_and_opens_what_is_folded(tab):
    page = tab.open("noisy_labels/exercises.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    solution = page.locator("article .solution.toggle").first
    button = solution.locator("button.toggle-button")
    content = solution.locator(".section, p:not(.admonition-title)").first
    assert not content.is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert content.is_visible()
    folded = page.locator("article details").first
    assert folded.get_attribute("open") is None
    folded.locator("summary").focus()
    page.keyboard.press("Enter")
    assert folded.get_attribute("open") is not None
    assert tab.problems == []
