"""Lets the builder `singlehtml`, which the PDF is printed from, write what the builder `html` can write.

Sphinx asks for handlers under a builder's own name first. As soon as one extension has some for `singlehtml`, those
that other extensions have for all HTML are no longer found.
"""


def share_handlers(app):
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = {**handlers["html"], **handlers.get("singlehtml", {})}


def setup(app):
    app.connect("builder-inited", share_handlers)
    return {"parallel_read_safe": True}
