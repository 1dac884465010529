"""Every module of the library has a page with its source, and what `code(...)` shows leads there.

`sphinx.ext.viewcode` makes these pages for modules that a page of api/ describes, with anchors for the functions
described. Here the other modules get their page, and the other functions their anchor.

`infocap.study.sources` writes links without an address, since it cannot know how deep a page lies:
`<a data-source="module#name">`. They get it here, and those without a text are called [source].
"""

import hashlib
import importlib
import pkgutil
import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.ext import viewcode
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform

PACKAGE = "infocap"
PLACEHOLDER = re.compile(r'<a data-source="([\w.]+)#([^"]*)">(</a>)?')
NUMBER = re.compile(r'<span class="linenos">( *)(\d+)</span>')
contents = {}  # tables of contents in this build, by depth and options


def page_of(module):
    return f"{viewcode.OUTPUT_DIRNAME}/{module.replace('.', '/')}"


def tags_of(module):
    """Where the functions and classes of a module lie; of names that are no module of the library, nothing."""
    if module.partition(".")[0] != PACKAGE:
        return None
    try:
        return ModuleAnalyzer.for_module(module).find_tags()
    except Exception:  # Sphinx' own error, whose cause may be any: a page may have been staged before a module moved
        return None


class Addresses(SphinxPostTransform):
    """Gives placeholders their address. Where there is no page of the source, as in the PDF, they stay text."""

    default_priority = 100  # after MyST-NB has chosen which output of a cell is shown

    def run(self, **options):
        if viewcode.is_supported_builder(self.app.builder):
            for node in self.document.findall(nodes.raw):
                if "html" in node.get("format", "").split() and "data-source" in node.astext():
                    node[:] = [nodes.Text(PLACEHOLDER.sub(self.address, node.astext()))]

    def address(self, match):
        module, name, empty = match.groups()
        tags = tags_of(module)
        if tags is None:
            return match[0]
        target = self.app.builder.get_relative_uri(self.env.docname, page_of(module))
        target += f"#{name}" if name in tags else ""
        link = f'<a data-source="{module}#{name}" class="reference internal" href="{target}">'
        return f"{link}[source]</a>" if empty else link


def add_modules(app):
    """Runs before viewcode writes its pages."""
    if viewcode.is_supported_builder(app.builder):
        known = app.env._viewcode_modules
        for module in pkgutil.walk_packages(importlib.import_module(PACKAGE).__path__, f"{PACKAGE}."):
            if not known.get(module.name) or not known[module.name][2]:
                tags = tags_of(module.name)
                known[module.name] = ModuleAnalyzer.for_module(module.name).code, tags, {}, module.name
        # viewcode keeps a page while the module's file is unchanged, although what it links to may have moved.
        last, now = Path(app.doctreedir) / "source_pages", what_pages_show(app)
        if not last.exists() or last.read_text() != now:
            shutil.rmtree(Path(app.outdir) / viewcode.OUTPUT_DIRNAME, ignore_errors=True)
            last.write_text(now)
    return []


def what_pages_show(app):
    """Identifies all that decides about the pages of source: the modules, the contents beside them, and their look."""
    book, titles = Path(app.srcdir), {page: title.astext() for page, title in app.env.titles.items()}
    known = (app.env._viewcode_modules, titles, app.env.toctree_includes)
    parts = [app.builder.build_info.config_hash]
    parts += [repr(sorted(one.items())) for one in known]  # sorted, as a page that was read anew is the last
    for folder in ("_ext", "_static", "_templates"):
        parts += [path.read_bytes().hex() for path in sorted((book / folder).rglob("*.*")) if path.suffix != ".pyc"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def share_contents(app, page, template, context, doctree):
    """The table of contents beside a page of source is that of all pages in folders as deep, and costs most of it."""
    if page.startswith(f"{viewcode.OUTPUT_DIRNAME}/"):
        make, depth = context["toctree"], page.count("/")

        def toctree(**options):
            key = depth, *sorted(options.items())
            if key not in contents:
                contents[key] = make(**options)
            return contents[key]

        context["toctree"] = toctree


def mend_pages(app, page, template, context, doctree):
    """Adds the anchors of functions that no page describes, at the number of their first line."""
    if page == f"{viewcode.OUTPUT_DIRNAME}/index":  # its lists are nested in a way that HTML forbids
        context["body"] = re.sub(r"<ul>(.*)</ul>", lambda lists: flat(lists[0]), context["body"], flags=re.DOTALL)
    elif page.startswith(f"{viewcode.OUTPUT_DIRNAME}/"):
        tags = tags_of(context["title"]) or {}
        described = app.env._viewcode_modules.get(context["title"], (None, None, {}))[2]
        starts = {str(line): name for name, (_, line, _) in tags.items() if name not in described}

        def anchor(match):
            name = starts.get(match[2])
            return f'<span class="linenos" id="{name}">{match[1]}{match[2]}</span>' if name else match[0]

        context["body"] = NUMBER.sub(anchor, context["body"])


def flat(lists):
    return "<ul>" + re.sub("</?ul>", "", lists) + "</ul>"


def setup(app):
    app.setup_extension("sphinx.ext.viewcode")
    app.config.viewcode_line_numbers = True
    app.add_post_transform(Addresses)
    app.connect("html-collect-pages", add_modules, priority=400)
    app.connect("html-page-context", mend_pages)
    contents.clear()
    app.connect("html-page-context", share_contents, priority=400)  # before the theme asks for it
    return {"parallel_read_safe": True}
