"""How fast is the library against a reference measured beside it? Prints one table and writes bench.json.

Arguments choose groups of rows, as in ``bench.py tangent``; without any, all are measured.
"""

import argparse
import importlib
import json
import time
from pathlib import Path

import torch
from harness import HEADER, text
from threadpoolctl import threadpool_limits

from infocap.study.provenance import stamp

GROUPS = (
    "noisy_labels",
    "tangent",
    "sample_information",
    "generalization",
    "distillation",
    "study",
    "peaks",
)  # modules beside this file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    groups = parser.parse_args().groups or GROUPS
    if unknown := set(groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; accepted: {', '.join(GROUPS)}")
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy and SciPy have a thread pool of their own
    started, rows = time.perf_counter(), []
    print(HEADER)
    for group in groups:
        for row in importlib.import_module(group).rows():
            rows.append(row)
            print(text(row), flush=True)
    seconds = round(time.perf_counter() - started, 1)
    Path("bench.json").write_text(
        json.dumps({"rows": rows, "seconds": seconds, "provenance": stamp()}, indent=1) + "\n"
    )
    print(f"{seconds} s; written to bench.json")


if __name__ == "__main__":
    main()
