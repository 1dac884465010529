"""What the built files must hold, without a browser."""

import base64
import json
import re
from collections import Counter
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
    "embed": "src",
}
LOADED_LINKS = {
    "stylesheet",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "icon",
    "modulepreload",
    "manifest",
}
REMOTE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
REMOTE_STYLE = re.compile(r"(?:@import\s+|url\(\s*)[\"']?((?:https?:)?//[^\"')]+)", re.IGNORECASE)


def report(problems):
    assert not problems, "\n" + "\n".join(problems)


def test_no_cell_failed_or_complained(soups):
    selectors = ".output.traceback, .output.stderr, .system-message, .problematic"
    problems = [
        f"{name}: {tag.get_text(' ', strip=True)[:200]}"
        for name, soup in soups.items()
        for tag in soup.select(selectors)
    ]
    problems += [
        f"{name}: a traceback" for name, soup in soups.items() if "Traceback (most recent call last)" in soup.get_text()
    ]
    report(problems)


def test_no_page_shows_markup(soups):
    """A fence that Markdown does not take for one, such as with a backtick in its title, shows all that follows."""
    markup = re.compile(r"`{3}|:{3,}\s*\{|\{[a-z][a-z-]*\}`|\{(dropdown|code-block|code-cell|admonition|figure|note)\}")
    problems = []
    for name, soup in soups.items():
        for tag in [] if name.startswith("_modules/") else soup.select("article"):
            hidden = {id(text) for block in tag.find_all(class_="highlight-markdown") for text in block.strings}
            shown = "".join(text for text in tag.strings if id(text) not in hidden)
            problems += [f"{name}: {shown[found.start() :][:80]!r}" for found in markup.finditer(shown)]
    report(problems)


def anchors(soup):
    return {tag["id"] for tag in soup.find_all(id=True)} | {tag["name"] for tag in soup.select("a[name]")}


def test_internal_links_lead_somewhere(html, soups):
    known = {name: anchors(soup) for name, soup in soups.items()}
    problems = []
    for name, soup in soups.items():
        for tag in soup.find_all(["a", "link", "script", "img", "source"]):
            target = tag.get("href") or tag.get("src")
            if not target or target == "#":
                continue
            url = urlsplit(target)
            if url.scheme or url.netloc:
                continue
            path = normpath(join(dirname(name), unquote(url.path))) if url.path else name
            if not (html / path).is_file():
                problems.append(f"{name}: no file for {target}")
            elif url.fragment and path in known and unquote(url.fragment) not in known[path]:
                problems.append(f"{name}: no anchor for {target}")
    report(problems)


def test_nothing_is_loaded_from_another_host(html, soups):
    problems = []
    for name, soup in soups.items():
        addresses = [tag[LOADED[tag.name]] for tag in soup.find_all(list(LOADED)) if tag.get(LOADED[tag.name])]
        addresses += [tag["href"] for tag in soup.find_all("link", href=True) if LOADED_LINKS & set(tag.get("rel", []))]
        problems += [f"{name}: {address}" for address in addresses if REMOTE.match(address)]
        scripts = [
            tag.get_text() for tag in soup.find_all("script", src=False) if tag.get("type") != "application/json"
        ]
        problems += [f"{name}: address in script {text[:80]!r}" for text in scripts if re.search("https?://", text)]
        styles = [tag.get_text() for tag in soup.find_all("style")] + [
            tag["style"] for tag in soup.find_all(style=True)
        ]
        problems += [f"{name}: {address}" for text in styles for address in REMOTE_STYLE.findall(text)]
    for sheet in html.rglob("*.css"):
        found = REMOTE_STYLE.findall(sheet.read_text("utf-8"))
        problems += [f"{sheet.relative_to(html)}: {address}" for address in found]
    report(problems)


def test_every_image_says_what_it_shows(soups):
    problems = []
    for name, soup in soups.items():
        for image in soup.find_all("img"):
            alt, source = (image.get("alt") or "").strip(), image.get("src", "")
            if not alt or Path(alt).name == Path(source).name or re.search(r"\.(png|svg|jpe?g)$", alt):
                problems.append(f"{name}: {source} has alt text {alt!r}")
    report(problems)


def test_figures_and_equations_have_numbers(soups):
    problems = []
    for name, soup in soups.items():
        for figure in soup.select("article figure"):
            number = figure.select_one("figcaption .caption-number")
            if number is None or not re.fullmatch(r"Fig\. \d+(\.\d+)*\s*", number.get_text()):
                problems.append(f"{name}: no number at {figure.get('id')}: {figure.get_text(' ', strip=True)[:80]!r}")
        for equation in soup.select("article div.math[id^=equation-]"):
            if not re.match(r"\(\d+(\.\d+)*\)", equation.get_text().strip()):
                problems.append(f"{name}: no number at {equation['id']}")
    assert any(soup.select("article figure") for soup in soups.values())
    report(problems)


def test_references_lead_to_what_they_name(soups):
    """Sphinx leaves a reference that it cannot resolve as text, of the same class and without a link."""
    kinds = {"std-ref", "std-numref", "std-term", "std-doc", "prf-ref", "eq", "py", "cite", "myst"}
    problems = [
        f"{name}: {tag.get_text()[:80]!r} leads nowhere"
        for name, soup in soups.items()
        for tag in soup.select("article .xref")
        if kinds & set(tag["class"])
        and tag.find_parent("a") is None
        and tag.find("a") is None
        and not tag.find_parent("dt")
    ]
    for name, soup in soups.items():
        for link in soup.select(
            "article a.reference.internal[href*='#fig-'], article a.reference.internal[href*='#equation-']"
        ):
            if not re.search(r"\d", link.get_text()):
                problems.append(f"{name}: {link['href']} shows no number: {link.get_text()!r}")
    report(problems)


def test_code_leads_to_the_pages_of_the_library(soups):
    for name, soup in soups.items():
        if re.match(r"[a-z]\w*/(?!exercises)", name) and not name.startswith("api/"):
            links = [link["href"] for link in soup.select("div.cell_input a.sphinx-codeautolink-a")]
            assert [link for link in links if link.startswith("../api/") and "#infocap." in link], name


def test_entries_of_the_library_lead_to_their_source(soups):
    """And the source leads back. What links where is checked with all other links."""
    problems = []
    for name, soup in soups.items():
        if re.match("api/(?!index)", name):
            entries = soup.select("dl.py.function > dt, dl.py.class > dt")
            assert entries, name
            problems += [f"{name}: {entry['id']}" for entry in entries if not entry.select("a[href*='_modules/']")]
        elif re.match("_modules/infocap/", name):
            functions = soup.select(".viewcode-block")
            problems += [f"{name}: {tag['id']}" for tag in functions if not tag.select("a[href*='/api/']")]
    report(problems)


def test_shown_source_has_addresses(soups):
    links = [(name, link) for name, soup in soups.items() for link in soup.select("a[data-source]")]
    without = [(name, link["data-source"]) for name, link in links if "_modules/infocap/" not in link.get("href", "")]
    report([f"{name}: {target}" for name, target in without])


def test_every_page_is_in_the_contents(soups, chapters):
    home = soups["index.html"].find("meta", attrs={"http-equiv": "Refresh"})["content"].partition("url=")[2]
    links = {
        normpath(join(dirname(home), urlsplit(tag["href"]).path))
        for tag in soups[home].select("nav.bd-links a[href]")
        if not tag["href"].startswith("#")
    }
    assert set(chapters) == links | {home}


def test_the_scorecard_and_its_file_say_the_same(soups):
    soup = soups["scorecard.html"]
    rows = json.loads(base64.b64decode(soup.select_one("a[download='scorecard.json']")["href"].partition(",")[2]))
    cells = [row.find_all("td", recursive=False) for row in soup.select("table.scorecard > tbody > tr")]
    assert [line[1].get_text(strip=True) for line in cells] == [row["verdict"] for row in rows]
    report([f"no link to a figure: {line[0].p.get_text()}" for line in cells if not line[0].select("a.reference")])
    heads, lines = soup.select_one("table.dataframe thead"), soup.select("table.dataframe tbody tr")
    (every,) = [line for line in lines if line.td.get_text(strip=True) == "all"]
    verdicts = [head.get_text(strip=True) for head in heads.find_all("th")][1:-1]
    counts = dict(zip(verdicts, (int(cell.get_text()) for cell in every.find_all("td")[1:-1]), strict=True))
    assert counts == dict.fromkeys(verdicts, 0) | Counter(row["verdict"] for row in rows)


def test_no_page_shows_this_machine(soups):
    places = {f"{Path(__file__).parents[2]}/", f"{Path.home()}/"} - {"//"}
    report([f"{name}: {place}" for name, soup in soups.items() for place in places if place in soup.get_text()])


def test_notebooks_have_launch_buttons_that_lead_to_their_source(html, soups):
    """And pages of prose, which have nothing to launch, have none."""
    problems = []
    for name, soup in soups.items():
        links = [tag["href"] for tag in soup.select(".dropdown-launch-buttons a[href]")]
        source = f"book/{name.removesuffix('.html')}.ipynb"
        wanted = [
            f"https://mybinder.org/v2/gh/infocap-book/infocap/main?urlpath=lab/tree/{source}",
            f"https://colab.research.google.com/github/infocap-book/infocap/blob/main/{source}",
        ]
        if links != (wanted if (Path(__file__).parents[2] / source).exists() else []):
            problems.append(f"{name}: {links}")
    report(problems)


def test_the_status_page_names_every_chapter_and_its_manifest(html, soups):
    manifest = json.loads((html / "manifest.json").read_text(encoding="utf-8"))
    page = soups["status.html"]
    assert page.select_one("article a[download]")["href"] == "manifest.json"
    links = {tag["href"] for tag in page.select("article table a[href]")}
    assert links == {f"{name}.html" for name in manifest["chapters"]} and links
