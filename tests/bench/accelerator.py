"""The hot paths on a CUDA device, against one CPU thread: the same code, moved by its inputs' device.

Here seconds are those of the wall clock, and end when the device has finished.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import growth
import torch
from harness import Row, alternate, row

LARGEST = {
    "200 small networks, 20 steps": partial(growth.many, 200),
    "tangent kernel of the MLP, n = 500": partial(growth.tangent, 500),
    "all left-out trainings, n = 2,000": partial(growth.left_out, growth.STEPS, 2000),
    "all bounds, n = 8,000": partial(growth.bounds, 8000),
}


def rows() -> Iterator[Row]:
    for name, prepare in LARGEST.items():
        operation = f"{name}, CUDA / CPU"
        if not torch.cuda.is_available():
            yield {"operation": operation, "target": "", "verdict": "not measured", "note": "no CUDA device here"}
            continue
        there, here = (partial(seconds, prepare(device=device)) for device in ("cuda", "cpu"))
        # as plain lists, without the memory of the host
        ours, reference = map(list, alternate(there, here, repetitions=3))
        yield row(operation, ours, reference, at_least=0, note=torch.cuda.get_device_name())


def seconds(run: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start
