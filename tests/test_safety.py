"""Nothing that we store or accept is pickle."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = r"\bpickle\b|joblib\.load|weights_only\s*=\s*False|allow_pickle\s*=\s*True|torch\.load\("
EXCEPT = {
    "tests/test_safety.py",  # names what it looks for
    "tests/study/test_store.py",  # writes a hostile file, to see that it is refused
    "tests/data/test_cifar.py",  # imitates the files that torchvision's own CIFAR reader reads
}


def test_no_source_loads_pickle():
    sources = [path for folder in ("lib/infocap", "tests") for path in (ROOT / folder).rglob("*.py")]
    sources += (ROOT / "book").rglob("*.ipynb")
    assert len(sources) > 40
    found = []
    for path in sources:
        name = path.relative_to(ROOT).as_posix()
        if name in EXCEPT or name.startswith("book/_build/"):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if _loads_pickle(line)]
    assert not found, "\n".join(found)


def test_the_search_finds_what_it_looks_for():
    for line in ("import pickle", "torch.load(path)", "joblib.load(f)", "np.load(f, allow_pickle=True)"):
        assert _loads_pickle(line)
    assert not _loads_pickle("unpickled = np.load(f)")


def _loads_pickle(line):
    return re.search(FORBIDDEN, line)
