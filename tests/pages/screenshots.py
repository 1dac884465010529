"""Pictures of every page for a look by eye: `make screenshots` writes them to book/_build/screenshots."""

import pytest


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_take_pictures(chromium, html, chapters, theme, width):
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    for name in chapters:
        page.goto((html / name).as_uri())
        page.wait_for_function("!window.MathJax?.startup || MathJax.startup.promise.then(() => true)")
        picture = f"{name.removesuffix('.html').replace('/', '-')}-{width}-{theme}.png"
        page.screenshot(path=html.parent / "screenshots" / picture, full_page=True)
    context.close()
