"""Links from names in code to the pages of api/: in code cells by sphinx-codeautolink, in prose by a transform here.

In prose a name is linked if it can mean one thing only: a dotted name that begins with `infocap.`; the end of one, such
as `results.coverage`; the bare name of a function or class of the algorithms. Where several parts of the book have what
is named, a page of a part means its own.
"""

import pydoc
import re
from pathlib import Path

import sphinx_codeautolink
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode
from sphinx_codeautolink.extension import SphinxCodeAutoLink
from sphinx_codeautolink.extension.block import CodeBlockAnalyser

NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(\))?")
NO_LINKS_IN = nodes.title | nodes.reference | nodes.raw | addnodes.pending_xref | addnodes.desc_signature
NOT_ALGORITHMS = ("infocap.experiments.", "infocap.study.")
written = set()  # pages of this build


class NamesInProse(SphinxPostTransform):
    default_priority = 20  # after references are resolved and MyST-NB has chosen which output of a cell is shown

    def run(self, **options):
        objects = self.env.domains["py"].objects
        literals = [node for node in self.document.findall(nodes.literal) if "xref" not in node["classes"]]
        for literal in literals:
            page, name = page_of(literal, self.env.docname), NAME.fullmatch(literal.astext())
            full = meant(name[1], page, objects) if name and not inside(literal, NO_LINKS_IN) else None
            if full:
                to, builder = objects[full], self.app.builder
                literal.replace_self(make_refnode(builder, page, to.docname, to.node_id, literal.deepcopy(), full))


def meant(name, page, objects):
    """The documented object that a name on a page means, if there is one and no more."""
    if name.startswith("infocap."):
        thing = pydoc.locate(name)  # a package passes on what its modules define
        passed_on = f"{getattr(thing, '__module__', None)}.{getattr(thing, '__qualname__', None)}"
        return next((full for full in (name, passed_on) if full in objects), None)
    if "." in name:
        found = [full for full in objects if full.endswith(f".{name}")]
        own = [full for full in found if full.startswith(f"infocap.experiments.{page.partition('/')[0]}.")]
        found = own or found
    elif page.startswith("api/"):  # where arguments are named as functions are
        return None
    else:
        kinds = {full: entry.objtype for full, entry in objects.items() if full.endswith(f".{name}")}
        found = [full for full, kind in kinds.items() if kind in ("function", "class", "exception")]
        found = [full for full in found if not full.startswith(NOT_ALGORITHMS)]
    return found[0] if len(found) == 1 else None


def inside(node, kinds):
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def page_of(node, page):
    """The page on which a node lies, also where all pages are one."""
    while node := node.parent:
        if isinstance(node, addnodes.start_of_file):
            return node["docname"]
    return page


def depart_section(self, node):
    """Sphinx-codeautolink keeps a stack of titles and takes one off at the end of each section.

    Exercises and proofs hold sections without a title, at which it would fail.
    """
    if any(isinstance(child, nodes.title) for child in node.children):
        self.title_stack.pop()


def note_page(app, page, template, context, doctree):
    written.add(page)


def apply_links(self, app, exception, whole=SphinxCodeAutoLink.apply_links):
    """Sphinx-codeautolink adds its links to pages whose own source has changed, and Sphinx has written others too."""
    self.outdated_docs = set(written)
    whole(self, app, exception)


def bring_style(app):
    """Sphinx-codeautolink asks for its style in all HTML, and brings it along for the builder `html` only."""
    if app.builder.name == "singlehtml":
        app.config.html_static_path.append(str(Path(sphinx_codeautolink.__file__).with_name("static")))


def setup(app):
    CodeBlockAnalyser.depart_section = depart_section
    SphinxCodeAutoLink.apply_links = apply_links
    written.clear()
    app.setup_extension("sphinx_codeautolink")
    app.add_post_transform(NamesInProse)
    app.connect("builder-inited", bring_style)
    app.connect("html-page-context", note_page)
    return {"parallel_read_safe": True}
