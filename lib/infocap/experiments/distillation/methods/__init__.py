"""How does a student learn? A file for each family of methods, found by the names in their decorators.

A method is a function ``method(cell, task, teacher) -> loss``: from the settings, the images and labels, and what the
teacher said at each checkpoint it makes ``loss(outputs, rows)``, where ``rows`` says which of ``task.views`` the batch
holds. ``measure`` trains a student on it for each of ``cell.student_seeds``; all students with one seed start alike and
see the same batches.

What a decorator states beside the name becomes keyword arguments of the method and columns of its students' rows. A
string stands for a field of the cell, or of the teacher: ``temperature="temperatures"`` tries each of them. Three
words are kept for ``measure``: a ``side=True`` study has the first seed only and no kernels, ``kernel=False`` leaves
out the kernels, and ``asked="squared"`` is tried only if that field of the cell says so.
"""

from infocap._registry import Registry

__all__ = ["METHODS", "method"]

METHODS = Registry(__name__, "METHODS", "method")
method = METHODS.register
