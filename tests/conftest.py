"""One thread and fixed examples: the suite gives the same verdict on every machine, however busy."""

import gc
import os

# Of kernels, workers and other processes that a test starts: one thread, and memory in large pages, since they load
# whole data sets for cells of a second.
os.environ |= {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("infocap", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("infocap")


@pytest.fixture(scope="session")
def generator():
    """``generator(seed)`` is a new one of torch's."""

    def make(seed=0):
        return torch.Generator().manual_seed(seed)

    return make


@pytest.fixture(scope="session")
def close():
    """Asserts that two tensors agree up to an absolute error."""

    def check(a, b, atol=1e-12):
        torch.testing.assert_close(a, b, rtol=0, atol=atol)

    return check


def pytest_collection_finish():
    gc.freeze()  # what was imported stays: to look for garbage in it again and again takes a tenth of the time


def pytest_sessionfinish():
    gc.unfreeze()
