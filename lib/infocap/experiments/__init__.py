"""What the book measures: for each part its tables, its methods and the claims that the tables decide.

A chapter needs two names, which are imported when they are asked for, so that a worker imports no more than its cell:
``Book``, which leads to tables and verdicts, and ``code``, which shows the source of what computed them.
"""

_HOMES = {"Book": "infocap.experiments.catalogue", "code": "infocap.study.sources"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
