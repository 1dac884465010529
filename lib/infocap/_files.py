"""How is a file written so that nobody ever reads half of it? Shared by the data cache and the store of results."""

import os
import uuid
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Writes a file that other processes, and the next run, see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{uuid.uuid4().hex}.tmp"  # not mkstemp, whose files nobody else may read
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
