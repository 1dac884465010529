"""Links from names in code to the pages of api/, by sphinx-codeautolink.

It keeps a stack of titles and takes one off at the end of each section. Exercises and proofs hold sections without a
title, at which it would fail.
"""

from pathlib import Path

import sphinx_codeautolink
from docutils import nodes
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def depart_section(self, node):
    if any(isinstance(child, nodes.title) for child in node.children):
        self.title_stack.pop()


def bring_style(app):
    """The extension asks for its style in all HTML, and brings it along for the builder `html` only."""
    if app.builder.name == "singlehtml":
        app.config.html_static_path.append(str(Path(sphinx_codeautolink.__file__).with_name("static")))


def setup(app):
    CodeBlockAnalyser.depart_section = depart_section
    app.setup_extension("sphinx_codeautolink")
    app.connect("builder-inited", bring_style)
    return {"parallel_read_safe": True}
