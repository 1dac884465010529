"""Which random numbers does an experiment use?"""

import hashlib

import torch

__all__ = ["stream"]


def stream(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator that depends on its purpose and seed only, so that compared methods share data and noise.

    Example:
        >>> a, b = (torch.rand(1, generator=stream("noise", 0)) for _ in range(2))
        >>> bool(a == b), bool(a == torch.rand(1, generator=stream("order", 0)))
        (True, False)
    """
    digest = hashlib.sha256(f"{purpose} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
