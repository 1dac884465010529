"""How does a folder of image files become tensors?

The tree is that of torchvision's ``ImageFolder``, twice: ``train/<class>/*.png`` and ``test/<class>/*.png``, with the
same class folders in both and one image size throughout. Images are decoded to eight-bit RGB, whatever they were.
"""

import functools
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_BLOCK = 256  # images per task of the thread pool: enough to make the cost of a task vanish


def read(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Decode all images below ``path``.

    Args:
        path: folder that holds ``train`` and ``test``.

    Returns:
        ``[(train images, train labels), (test images, test labels)]``; images are uint8 ``[N, 3, H, W]`` (a view of
        ``[N, H, W, 3]``), labels are int64 ``[N]``.

    Raises:
        ValueError: a missing split, no or different classes, an unreadable file, more than one image size.

    Cost: one decoding per image, spread over threads; three bytes per pixel.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from infocap.data.folders import read
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for image in ("train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png"):
        ...         (Path(folder) / image).parent.mkdir(parents=True)
        ...         Image.new("RGB", (8, 8)).save(Path(folder) / image)
        ...     (images, labels), _ = read(Path(folder))
        >>> images.shape, labels
        (torch.Size([2, 3, 8, 8]), tensor([0, 1]))
    """
    splits = _splits(path)
    first = Path(splits[0].samples[0][0])
    return [(_read_images(split, first), torch.tensor(split.targets)) for split in splits]


def classes(path: Path) -> tuple[str, ...]:
    """Names of the class folders below ``path``, in the order of the labels; errors and layout as in ``read``."""
    return tuple(_splits(path)[0].classes)


@functools.cache
def digest(path: Path) -> str:
    """SHA-256 over the sorted relative paths and the contents of all images below ``path``, once per process."""
    files = [Path(file) for split in _splits(path) for file, _ in split.samples]
    total = hashlib.sha256()
    for relative, file in sorted((file.relative_to(path).as_posix(), file) for file in files):
        total.update(f"{relative} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _splits(path: Path) -> list:
    accepted, names = "accepted: a folder with images in train/<class>/ and test/<class>/", ("train", "test")
    for name in names:
        if not (path / name).is_dir():
            raise ValueError(f"name: {path} has no folder {name!r}; {accepted}")
    from torchvision.datasets import ImageFolder  # seconds, which a page that reads no images does not spend

    splits = []
    for name in names:
        try:
            splits.append(ImageFolder(str(path / name)))
        except FileNotFoundError as error:  # torchvision's word for no class folders and for empty ones
            reason = str(error).rstrip(".")
            raise ValueError(f"name: {path / name}: {reason}; {accepted}, at least one image in each") from error
    train, test = splits
    differing = sorted(set(train.classes) ^ set(test.classes))
    if differing:
        raise ValueError(
            f"name: {path} has the class folder {differing[0]!r} in only one of train and test; "
            f"accepted: the same class folders in both ({len(differing)} differ)"
        )
    return splits


def _read_images(split, first: Path) -> Tensor:
    files = [Path(file) for file, _ in split.samples]
    pixels = np.empty((len(files), *_decode(first).shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for row in range(start, min(start + _BLOCK, len(files))):
            image = _decode(files[row])
            if image.shape != pixels.shape[1:]:
                got, expected = (f"{shape[1]} x {shape[0]}" for shape in (image.shape, pixels.shape[1:]))
                raise ValueError(
                    f"name: {files[row]} is {got} pixels but {first} is {expected}; "
                    "accepted: images of one size; resize them first"
                )
            pixels[row] = image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(0, len(files), _BLOCK)))  # the list hands on the first error, in the order of files
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _decode(file: Path) -> np.ndarray:
    try:
        with Image.open(file) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # the decoders raise a different kind for each way in which a file can be broken
        raise ValueError(f"name: cannot read the image {file} ({error}); replace or remove it") from error
    if mode.startswith(("I", "F")):
        # The conversion above clips such pixels at 255, which would quietly turn most images white.
        raise ValueError(f"name: {file} has more than eight bits per channel (mode {mode}); convert it to eight bits")
    return pixels
