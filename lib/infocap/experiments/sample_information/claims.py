"""The claims of part 2 and the rules that decide them."""

from infocap.study.claims import Claim

__all__ = ["CLAIMS"]

CLAIMS: list[Claim] = []
