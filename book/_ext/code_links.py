"""Links from names in code to the pages of api/: sphinx-codeautolink, which trips over the sections of other extensions.

Exercises and proofs hold sections without a title. It takes one title off its stack for each section, also for these.
"""

from docutils import nodes
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def depart_section(self, node):
    if any(isinstance(child, nodes.title) for child in node.children):
        self.title_stack.pop()


def setup(app):
    CodeBlockAnalyser.depart_section = depart_section
    app.setup_extension("sphinx_codeautolink")
    return {"parallel_read_safe": True}
