"""Which random numbers does an experiment use?"""

import hashlib

import torch

__all__ = ["initialization", "stream"]


def stream(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator that depends on its purpose and seed only, so that compared methods share data and noise.

    Example:
        >>> a, b = (torch.rand(1, generator=stream("noise", 0)) for _ in range(2))
        >>> bool(a == b), bool(a == torch.rand(1, generator=stream("order", 0)))
        (True, False)
    """
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def initialization(seed: int, purpose: str = "initialization") -> int:
    """The seed with which ``infocap.networks.build`` draws initial weights."""
    return int(torch.randint(2**62, (), generator=stream(purpose, seed)))
