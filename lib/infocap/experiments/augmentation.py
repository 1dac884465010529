"""How are training images varied? One function for all parts."""

import torch
from torch import Tensor, nn

__all__ = ["flip_and_crop"]


def flip_and_crop(batch: Tensor, generator: torch.Generator, shift: int = 4) -> Tensor:
    """Mirrors each image with probability 1/2, then cuts it out of a copy with ``shift`` zeros on all sides."""
    count, _, height, width = batch.shape
    flip = torch.rand(count, generator=generator).to(batch.device) < 0.5
    batch = torch.where(flip[:, None, None, None], batch.flip(3), batch)
    padded = nn.functional.pad(batch, 4 * (shift,))
    top, left = torch.randint(2 * shift + 1, (2, count), generator=generator).to(batch.device)
    rows = top[:, None] + torch.arange(height, device=batch.device)
    columns = left[:, None] + torch.arange(width, device=batch.device)
    example = torch.arange(count, device=batch.device)[:, None, None]
    return padded[example, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
