"""What does sample information find? A file for each experiment of the table ``sample_information/detection``.

An application is a function ``application(cell) -> dict`` of numbers, lists and arrays; its name is that of its panel
in a profile.
"""

from infocap._registry import Registry

__all__ = ["APPLICATIONS", "application"]

APPLICATIONS = Registry(__name__, "APPLICATIONS", "experiment")
application = APPLICATIONS.register
