"""How fast is the library against a reference measured beside it? Prints one table and writes it as JSON.

Without arguments all groups of rows are measured, and book/results/bench.json is written, which the page Performance
shows. Arguments choose groups, as in ``bench.py tangent``; what they measure is written to bench.json.
"""

import argparse
import importlib
import time
from pathlib import Path

import torch
from harness import HEADER, text, write
from threadpoolctl import threadpool_limits

RESULT = Path(__file__).parents[2] / "book/results/bench.json"
# modules beside this file
GROUPS = (
    "noisy_labels", "tangent", "sample_information", "generalization", "distillation", "growth", "study", "quick",
    "accelerator",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    chosen = parser.parse_args().groups
    if unknown := set(chosen) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}; accepted: {', '.join(GROUPS)}")
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy and SciPy have a thread pool of their own
    started, rows = time.perf_counter(), []
    print(HEADER)
    for group in chosen or GROUPS:
        for row in importlib.import_module(group).rows():
            rows.append({"group": group} | row)
            print(text(row), flush=True)
    seconds = round(time.perf_counter() - started, 1)
    path = RESULT if not chosen else Path("bench.json")  # the book shows whole runs only
    write(path, rows, seconds)
    print(f"{seconds} s; written to {path}")


if __name__ == "__main__":
    main()
