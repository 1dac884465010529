"""The directive `package`: the docstrings of all public modules of a package, each under a heading.

The list of modules is taken from the package at each build, so that a file which is added, moved or removed needs no
change in the pages. A page is read again when the list has changed.

Docstrings may hold tables as Markdown writes them, which are legible in the source too.
"""

import importlib
import pkgutil

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def public_modules(package, without=()):
    """The package, then the modules below it; `without` names modules or packages relative to it."""
    left_out = tuple(f"{package}.{name}" for name in without)
    found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
    names = [module.name for module in found if "._" not in module.name]
    return [package] + [name for name in names if not any(f"{name}.".startswith(f"{left}.") for left in left_out)]


class Package(SphinxDirective):
    """`{package} infocap.experiments.noisy_labels`; the option `without` names what other pages describe."""

    required_arguments = 1
    option_spec = {"without": directives.unchanged}

    def run(self):
        package, without = self.arguments[0], self.options.get("without", "").split()
        names = public_modules(package, without)
        listed(self.env)[self.env.docname] = package, without, names
        lines = []
        for name in names:
            lines += [] if name == package else [f"## {name.removeprefix(package)[1:]}", ""]
            # A module's `__all__` is what others import. Here all that its file defines is described.
            lines += ["```{eval-rst}", f".. automodule:: {name}", "   :ignore-module-all:", "```", ""]
        content = nodes.Element()
        self.state.nested_parse(StringList(lines), self.content_offset, content, match_titles=True)
        return content.children


def listed(env):
    if not hasattr(env, "listed_packages"):
        env.listed_packages = {}
    return env.listed_packages


def changed(app, env, added, changed, removed):
    kept = {page: entry for page, entry in listed(env).items() if page not in removed}
    return [page for page, (package, without, names) in kept.items() if public_modules(package, without) != names]


def forget(app, env, page):
    listed(env).pop(page, None)


def merge(app, env, pages, other):
    listed(env).update({page: listed(other)[page] for page in pages if page in listed(other)})


def write_tables(app, what, name, thing, options, lines):
    """Turns tables of Markdown into those of reStructuredText, in place."""
    start = 0
    while start + 1 < len(lines):
        end = start
        while end < len(lines) and lines[end].lstrip().startswith("|"):
            end += 1
        if end > start + 1 and set(lines[start + 1].strip()) <= set("|-: "):
            rows = [line.strip().strip("|").split("|") for line in [lines[start], *lines[start + 2 : end]]]
            indent = lines[start][: -len(lines[start].lstrip())]
            table = ["", ".. list-table::", "   :header-rows: 1", ""]
            for first, *others in rows:
                table += [f"   * - {first.strip()}", *(f"     - {cell.strip()}" for cell in others)]
            lines[start:end] = [indent + line for line in [*table, ""]]
            end = start + len(table) + 1
        start = max(end, start + 1)


def setup(app):
    app.connect("autodoc-process-docstring", write_tables)
    app.add_directive("package", Package)
    app.connect("env-get-outdated", changed)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    return {"parallel_read_safe": True}
