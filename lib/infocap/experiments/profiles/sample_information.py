"""The sizes of part 2."""

from infocap.experiments.profiles.strict import Strict

__all__ = ["SampleInformation"]


class SampleInformation(Strict):
    """The panels of part 2."""
