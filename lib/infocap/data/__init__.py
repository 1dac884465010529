"""Which images and labels do the experiments see, and are they really the published ones?

``load`` returns a whole data set as four tensors. MNIST and Fashion-MNIST come with the package and never touch the
network; CIFAR-10 and CIFAR-100 are downloaded by torchvision on first use; ``folder:<path>`` reads your own images; and
``lent`` gives a name to tensors that you have already.

Conventions that may surprise: pixels are floats in [0, 1], neither centred nor standardized; an image folder always
yields three channels; nothing is shuffled, so rows keep the order of the original files. Unpacked and downloaded files
lie in ``root()``, which the environment variable ``INFOCAP_DATA`` moves. The book's experiments start from ``load``.
"""

import contextlib
import difflib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock
from torch import Tensor

from infocap.data import folders, packed

__all__ = ["Dataset", "checksum", "class_names", "lent", "load", "root"]

_PACKED = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}  # torchvision's classes
_CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_CIFAR_MD5 = {  # of the files that torchvision reads, in its order; to import it takes a second
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    "cifar100": {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
}
_FOLDER = "folder:"
_ACCEPTED = (*_PACKED, *_CIFAR, "folder:<path>")
_LENT: dict[str, "Dataset"] = {}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: inputs float32 in [0, 1], ``[N, channels, H, W]``; labels int64, ``[N]``."""

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def load(name: str, root: str | os.PathLike | None = None) -> Dataset:
    """Load a data set completely into memory.

    Args:
        name: ``mnist`` or ``fashion-mnist`` (part of the package), ``cifar10`` or ``cifar100`` (downloaded on first
            use), ``folder:<path>``, a folder that holds ``train/<class>/`` and ``test/<class>/`` with image files,
            all of one size, or a name under which a data set was ``lent``.
        root: where unpacked and downloaded files are kept; ``infocap.data.root()`` if None. Image folders ignore it.

    Returns:
        A ``Dataset``; inputs are float32 in [0, 1] of shape ``[N, channels, H, W]``, labels are int64 of shape ``[N]``
        and count the classes in the order of ``class_names(name)``. MNIST and Fashion-MNIST have one channel, CIFAR
        and image folders three (red, green, blue). What was lent comes back as it is, not copied.

    Raises:
        TypeError: ``name`` is not a string or ``root`` is not a path.
        ValueError: an unknown name, or an image folder that lacks a part, mixes sizes or holds a damaged file.
        OSError: ``root`` cannot be written to.
        RuntimeError: CIFAR can be neither read nor downloaded, or the installed package is damaged.

    Cost: time and memory are linear in the number of pixels (four bytes each; 220 MB for MNIST). MNIST takes about a
    second the first time, when it is unpacked, and a fraction of one later. Every file that came with the package is
    checked by SHA-256 once per process; torchvision checks CIFAR by MD5 at each load.

    Example:
        >>> from infocap.data import load
        >>> data = load("mnist")
        >>> data.train_inputs.shape, data.train_inputs.dtype
        (torch.Size([60000, 1, 28, 28]), torch.float32)
        >>> data.train_labels[:5]
        tensor([5, 0, 4, 1, 9])
    """
    _check_name(name)
    if name in _LENT:
        return _LENT[name]
    if name in _PACKED:
        folder = _packed_folder(name, root)
        train, test = (_reader(name)(folder, train=train) for train in (True, False))
        return Dataset(_scaled(train.data[:, None]), train.targets, _scaled(test.data[:, None]), test.targets)
    if name in _CIFAR:
        train, test = (_cifar(name, root, train=train) for train in (True, False))
        inputs = [_scaled(torch.from_numpy(split.data).permute(0, 3, 1, 2)) for split in (train, test)]
        return Dataset(inputs[0], torch.tensor(train.targets), inputs[1], torch.tensor(test.targets))
    (train_images, train_labels), (test_images, test_labels) = folders.read(_folder_path(name))
    return Dataset(_scaled(train_images), train_labels, _scaled(test_images), test_labels)


def checksum(name: str, root: str | os.PathLike | None = None) -> str:
    """Identify the contents of a data set, so that a stored result can tell which data it came from.

    Args:
        name: as in ``load``.
        root: taken so that both functions accept the same arguments; no checksum depends on it.

    Returns:
        64 hexadecimal digits. For MNIST, Fashion-MNIST and CIFAR they summarize the published checksums that ``load``
        enforces; nothing is read. For an image folder they summarize the relative path and content of every image.

    Raises:
        TypeError, ValueError: as in ``load``.
        ValueError: a data set that is lent, whose results are never stored.

    Cost: none, except for an image folder: one pass over its files, once per process. After changing an image, start a
    new process.

    Example:
        >>> from infocap.data import checksum
        >>> checksum("mnist")[:16]
        'd95a98cc28a86f51'
    """
    _check_name(name)
    if name in _LENT:
        raise ValueError(f"name: {name!r} is lent, and its results are never stored; accepted: other data sets")
    if name in _PACKED:
        parts = packed.FILES[name].items()
    elif name in _CIFAR:
        parts = _CIFAR_MD5[name].items()
    else:
        return folders.digest(_folder_path(name))
    return hashlib.sha256("\n".join(f"{file} {digest}" for file, digest in parts).encode()).hexdigest()


def class_names(name: str, root: str | os.PathLike | None = None) -> tuple[str, ...]:
    """Names of the classes, for the axes and legends of figures; entry ``k`` names label ``k``.

    Args:
        name: as in ``load``.
        root: as in ``load``; CIFAR alone keeps its names among the downloaded files and needs them there.

    Returns:
        The digits, the ten kinds of clothing, torchvision's names for CIFAR, or the names of the class folders. The
        classes of a data set that is lent have none, so that their labels stand for them, as text.

    Raises:
        TypeError, ValueError, RuntimeError: as in ``load``.

    Cost: none for MNIST and Fashion-MNIST; a listing of the image folder; reading CIFAR's test split.

    Example:
        >>> from infocap.data import class_names
        >>> class_names("fashion-mnist")[:3]
        ('T-shirt/top', 'Trouser', 'Pullover')
    """
    _check_name(name)
    if name in _LENT:
        labels = torch.cat([_LENT[name].train_labels, _LENT[name].test_labels])
        return tuple(map(str, range(int(labels.max()) + 1)))
    if name == "mnist":
        return tuple("0123456789")
    if name == "fashion-mnist":
        return tuple(_reader(name).classes)
    if name in _CIFAR:
        return tuple(_cifar(name, root, train=False).classes)
    return folders.classes(_folder_path(name))


@contextlib.contextmanager
def lent(name: str, dataset: Dataset) -> Iterator[None]:
    """Inside, ``name`` stands for a data set of your own: ``load(name)`` returns it, in this process only.

    Args:
        name: any text but the name of a data set of the book, or of a folder.
        dataset: training and test images of one shape, with their labels.

    Raises:
        TypeError: no ``Dataset``, or tensors of another dtype.
        ValueError: a name that is taken, tensors whose shapes disagree, pixels outside [0, 1], or negative labels.

    Cost: one pass over the pixels.

    Example:
        >>> import torch
        >>> from infocap.data import Dataset, class_names, lent, load
        >>> images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> with lent("my images", Dataset(images, labels, images[:3], labels[:3])):
        ...     load("my images").train_inputs.shape, class_names("my images")
        (torch.Size([6, 1, 8, 8]), ('0', '1', '2'))
    """
    if not isinstance(name, str):
        raise TypeError(f"name: got {type(name).__name__}; accepted: a string")
    if not name or name in _ACCEPTED or name.startswith(_FOLDER):
        raise ValueError(f"name: got {name!r}, which is taken; accepted: a name of your own")
    _check_dataset(dataset)
    before = _LENT.get(name)
    _LENT[name] = dataset
    try:
        yield
    finally:
        del _LENT[name]
        if before is not None:
            _LENT[name] = before


def root() -> Path:
    """The folder for unpacked and downloaded data: ``INFOCAP_DATA`` if set, else ``data`` in the user's cache.

    Returns:
        An absolute path; the folder may not exist yet. The variable is read at each call.

    Example:
        >>> from infocap.data import root
        >>> root().is_absolute()
        True
    """
    chosen = os.environ.get("INFOCAP_DATA") or platformdirs.user_cache_path("infocap") / "data"
    return Path(chosen).expanduser().absolute()


def _check_dataset(dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset: got {type(dataset).__name__}; accepted: an infocap.data.Dataset")
    for split in ("train", "test"):
        inputs, labels = getattr(dataset, f"{split}_inputs"), getattr(dataset, f"{split}_labels")
        _check_tensor(f"{split}_inputs", inputs, torch.float32, ("N", "channels", "H", "W"))
        _check_tensor(f"{split}_labels", labels, torch.int64, ("N",))
        if len(labels) != len(inputs):
            raise ValueError(f"{split}_labels: got {len(labels)} for {len(inputs)} images; accepted: one for each")
        low, high = map(float, inputs.aminmax())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"{split}_inputs: got values from {low:g} to {high:g}; accepted: 0 to 1")
        if labels.min() < 0:
            raise ValueError(f"{split}_labels: got {int(labels.min())}; accepted: 0 or more")
    one, other = (list(inputs.shape[1:]) for inputs in (dataset.train_inputs, dataset.test_inputs))
    if one != other:
        raise ValueError(f"test_inputs: got images {other}; accepted: {one}, as train_inputs")


def _check_tensor(argument: str, tensor: Tensor, dtype: torch.dtype, axes: tuple[str, ...]) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
        came = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{argument}: got {came}; accepted: a tensor of {dtype}")
    if tensor.ndim != len(axes) or tensor.numel() == 0:
        raise ValueError(f"{argument}: got shape {list(tensor.shape)}; accepted: [{', '.join(axes)}], not empty")


def _check_name(name: str) -> None:
    known = (*_ACCEPTED, *_LENT)
    accepted = ", ".join(known)
    if not isinstance(name, str):
        raise TypeError(f"name: got {type(name).__name__}; accepted: a string, one of {accepted}")
    if name not in (*_ACCEPTED[:-1], *_LENT) and not (name.startswith(_FOLDER) and name != _FOLDER):
        nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0)[0]
        nearest = _FOLDER + name if name and Path(name).is_dir() else nearest
        raise ValueError(f"name: no data set {name!r}; did you mean {nearest!r}? accepted: {accepted}")


def _folder_path(name: str) -> Path:
    return Path(name.removeprefix(_FOLDER)).expanduser().resolve()


def _root_path(given: str | os.PathLike | None) -> Path:
    if given is None:
        return root()
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"root: got {type(given).__name__}; accepted: a path, or None for infocap.data.root()")
    return Path(given).expanduser().absolute()


def _packed_folder(name: str, given: str | os.PathLike | None) -> Path:
    """Make sure that torchvision finds verified files, and nothing else, below the returned folder."""
    folder = _root_path(given)
    own = folder / _PACKED[name]
    if (own / "processed").exists():
        # torchvision would read this old format first, and we could not vouch for what is in it.
        raise ValueError(f"root: {own / 'processed'} holds data in a format that is not verified; remove that folder")
    try:
        packed.unpack(name, own / "raw")
    except OSError as error:
        raise OSError(
            f"root: cannot keep {name} in {own / 'raw'} ({_one_line(error)}); "
            "pass a root that you may write to, or set INFOCAP_DATA to one"
        ) from error
    return folder


def _cifar(name: str, given: str | os.PathLike | None, train: bool):
    folder, reader = _root_path(given), _reader(name)
    try:
        return reader(folder, train=train)
    except RuntimeError:  # torchvision's word for files that are missing or fail their MD5
        pass
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The workers of a sweep arrive here together: one downloads, the others wait and find the files.
        with FileLock(folder / f"{name}.lock"):
            return reader(folder, train=train, download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        raise RuntimeError(
            f"name: {name!r} can be neither read nor downloaded ({_one_line(error)}); remedy: remove "
            f"{folder / reader.base_folder} if it exists, and put {reader.filename}, from {reader.url}, into {folder}"
        ) from error


def _reader(name: str) -> type:
    from torchvision import datasets  # seconds, which a page that reads no images does not spend

    return getattr(datasets, (_PACKED | _CIFAR)[name])


def _scaled(images: Tensor) -> Tensor:
    return images.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
