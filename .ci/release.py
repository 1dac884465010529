"""What does a release hold, and how do its pages stay on the site?

    python .ci/release.py check v0.1.0        compares a tag with version and changelog; prints the release's notes
    python .ci/release.py pack                writes dist/ from the commit and the rendered book
    python .ci/release.py site HTML RELEASES  puts each release's pages into HTML/vX.Y, and a list of them beside

Needs git and nothing but Python's own library. Two runs of ``pack`` on the same commit and the same pages write the
same bytes: files are sorted, and the date of the commit stands for every other date.
"""

import argparse
import datetime
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import zlib
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1_000_000_000  # bytes; what GitHub Pages accepts for a whole site

VERSIONS = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Versions of this book</title>
<style>body {{ font: 1.1rem/1.6 sans-serif; margin: 2rem auto; max-width: 40rem; padding: 0 1rem }}</style>
<main>
<h1>Versions of this book</h1>
<ul>
<li><a href="index.html">newest</a>, from the branch main; also as <a href="infocap.pdf">PDF</a></li>
{items}
</ul>
<p>Archives and PDFs: <a href="https://github.com/infocap-book/infocap/releases">releases</a>.</p>
</main>
</html>
"""


def notes(tag: str, root: Path = ROOT) -> str:
    """The changelog's section for a tag, which must name the library's version."""
    version = _version(root)
    if tag != f"v{version}":
        _fail(f"tag: got {tag!r}; accepted: 'v{version}', the version in lib/pyproject.toml")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d\n"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None:
        _fail(f"CHANGELOG.md: no heading '## {version}, YYYY-MM-DD' with the release's date")
    return section[1].strip() + "\n"


def pack(root: Path = ROOT) -> Path:
    """Writes the archives of sources and pages, the PDF if there is one, a manifest and the checksums."""
    html, pdf, target = root / "book/_build/html", root / "book/_build/pdf/infocap.pdf", root / "dist"
    if not (html / "manifest.json").exists():  # `make book` writes it last
        _fail(f"{html}: no pages; run `make book` first")
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        _fail("git: uncommitted changes, which the archive would not hold; commit or undo them first")
    if pdf.exists() and pdf.stat().st_mtime < (html / "manifest.json").stat().st_mtime:
        _fail(f"{pdf}: older than the pages; run `make pdf` again")
    version, commit = _version(root), _git(root, "rev-parse", "HEAD")
    build = json.loads((html / "manifest.json").read_text(encoding="utf-8"))
    if not commit.startswith(build["commit"]):
        _fail(f"{html}: pages of commit {build['commit']}, but this is {commit[:12]}; run `make book` again")
    seconds = int(_git(root, "show", "--no-patch", "--format=%ct", "HEAD"))
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    source = f"infocap-{version}"
    _git(root, "archive", f"--prefix={source}/", f"--output={target / source}.tar.gz", "HEAD")
    _archive(html, target / f"infocap-book-{version}.tar.gz", seconds)
    if pdf.exists():
        shutil.copyfile(pdf, target / f"infocap-book-{version}.pdf")
    files = [{"name": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)} for path in _files(target)]
    manifest = {
        "version": version,
        "commit": commit,
        "date": datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(),
        "lock": _sha256(root / "lib" / "requirements.lock"),
        "build": {name: build[name] for name in ("profile", "settings", "device", "python", "system", "seconds")},
        "files": files,
    }
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    sums = "".join(f"{_sha256(path)}  {path.name}\n" for path in _files(target))
    (target / "SHA256SUMS").write_text(sums, encoding="utf-8")
    return target


def site(html: Path, releases: Path) -> None:
    """Adds released pages to those of main.

    Args:
        html: The rendered book of main; receives ``vX.Y/`` for each release and ``versions.html``.
        releases: One folder per tag ``vX.Y.Z``, with the release's archive of pages and its ``SHA256SUMS``. Of several
            releases with the same X and Y the last one counts.
    """
    newest = {}
    for folder in releases.iterdir():
        if not re.fullmatch(r"v\d+\.\d+\.\d+", folder.name):
            _fail(f"releases: got {folder.name!r}; accepted: a tag such as 'v0.1.0'")
        numbers = tuple(map(int, folder.name[1:].split(".")))
        newest[numbers[:2]] = max(newest.get(numbers[:2], numbers), numbers)
    items = []
    for major, minor in sorted(newest, reverse=True):
        version = ".".join(map(str, newest[major, minor]))
        _add(html / f"v{major}.{minor}", releases / f"v{version}" / f"infocap-book-{version}.tar.gz")
        items.append(f'<li><a href="v{major}.{minor}/index.html">{version}</a></li>')
    (html / "versions.html").write_text(VERSIONS.format(items="\n".join(items)), encoding="utf-8")


def _add(place: Path, archive: Path) -> None:
    sums = archive.parent / "SHA256SUMS"
    for path in (archive, sums):
        if not path.is_file():
            _fail(f"{path}: missing; a release of another origin is marked as draft or removed")
    if f"{_sha256(archive)}  {archive.name}" not in sums.read_text(encoding="utf-8").splitlines():
        _fail(f"{archive}: not the file whose checksum is in SHA256SUMS")
    room = LIMIT

    def accept(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
        nonlocal room
        room -= member.size
        if not member.isreg():
            _fail(f"{archive}: {member.name!r} is not a plain file")
        if room < 0:
            _fail(f"{archive}: more than {LIMIT} bytes when unpacked")
        return tarfile.data_filter(member, folder)

    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(archive, "r:gz") as file:
                file.extractall(folder, filter=accept)
        except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
            _fail(f"{archive}: {error}")
        shutil.move(Path(folder) / archive.name.removesuffix(".tar.gz"), place)


def _archive(folder: Path, target: Path, seconds: int) -> None:
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=seconds) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as file,
    ):
        for path in _files(folder):
            name = f"{target.name.removesuffix('.tar.gz')}/{path.relative_to(folder).as_posix()}"
            member = tarfile.TarInfo(name)  # owner 0, mode 644
            member.size, member.mtime = path.stat().st_size, seconds
            with path.open("rb") as content:
                file.addfile(member, content)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(root: Path) -> str:
    return tomllib.loads((root / "lib" / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def _git(root: Path, *words: str) -> str:
    outcome = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    if outcome.returncode:
        _fail(f"git {words[0]}: {outcome.stderr.strip()}")
    return outcome.stdout.strip()


def _fail(message: str) -> NoReturn:
    raise SystemExit(message)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check").add_argument("tag")
    commands.add_parser("pack")
    adding = commands.add_parser("site")
    adding.add_argument("html", type=Path)
    adding.add_argument("releases", type=Path)
    given = parser.parse_args()
    if given.command == "check":
        print(notes(given.tag), end="")
    elif given.command == "pack":
        print(pack())
    else:
        site(given.html, given.releases)
