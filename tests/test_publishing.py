"""What is published says the same everywhere, and a release is what its checksums say."""

import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


# What the project says about itself


def valid(schema, *paths):
    return CliRunner().invoke(check_jsonschema, ["--builtin-schema", schema, *map(str, paths)])


def test_the_citation_is_valid(tmp_path):
    outcome = valid("vendor.citation-file-format", ROOT / "CITATION.cff")
    assert outcome.exit_code == 0, outcome.output
    wrong = tmp_path / "CITATION.cff"
    wrong.write_text((ROOT / "CITATION.cff").read_text().replace("type: software", "type: poem"))
    assert valid("vendor.citation-file-format", wrong).exit_code == 1


def test_the_workflows_are_valid():
    outcome = valid("vendor.github-workflows", *WORKFLOWS)
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_pin_actions_and_have_least_rights(path):
    text = path.read_text()
    uses = re.findall(r"uses: (.*)", text)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in uses), uses
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    content = yaml.safe_load(text)
    assert content["permissions"] == {}
    writes = set()
    for name, job in content["jobs"].items():
        assert job["timeout-minutes"] <= 90
        rights = {right for right, level in job["permissions"].items() if level != "read"}
        writes |= {(name, right) for right in rights}
        assert not rights or "checkout" not in str(job["steps"]), "no code of the project runs with rights to write"
    assert writes == {
        "publish": {("deploy", "pages"), ("deploy", "id-token")},
        "release": {("attach", "contents"), ("site", "actions")},
    }.get(path.stem, set())


def test_one_action_has_one_version():
    pins = {}
    for path in WORKFLOWS:
        for action, pin in re.findall(r"uses: (\S+)@(.*)", path.read_text()):
            pins.setdefault(action, set()).add(pin)
    assert len(pins) >= 5 and all(len(versions) == 1 for versions in pins.values()), pins


def test_one_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    (newest, state) = re.search(r"^## (\S+), (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE).groups()
    assert newest == PROJECT["version"] == str(CITATION["version"])
    assert str(CITATION.get("date-released", "unreleased")) == state


def test_one_address():
    owner = CITATION["repository-code"].split("/")[3]
    assert CITATION["repository-code"] == f"https://github.com/{owner}/infocap"
    assert CITATION["url"] == f"https://{owner}.github.io/infocap"
    assert set(PROJECT["urls"].values()) == {CITATION["repository-code"], CITATION["url"]}
    folders = [ROOT / name for name in ("book", "lib", ".ci", ".github", ".binder", ".devcontainer")]
    paths = [path for folder in folders for path in folder.rglob("*") if "_build" not in path.parts]
    named, wrong = set(), []
    for path in [*ROOT.glob("*.*"), *paths]:
        if path.suffix not in {".md", ".yml", ".ipynb", ".py", ".toml", ".cff", ".json", ".html"}:
            continue
        text = path.read_text(encoding="utf-8")
        owners = re.findall(r"(?:github\.com/|/gh/|/github/)([\w.-]+)/infocap\b|([\w-]+)\.github\.io/infocap", text)
        named |= {path.name} if owners else set()
        wrong += [f"{path}: {found}" for found in owners if "".join(found) != owner]
    assert not wrong, "\n".join(wrong)
    assert {"README.md", "CITATION.cff", "pyproject.toml"} <= named


def commands(*paths):
    return {name for path in paths for name in re.findall(r"\bmake ([a-z][a-z-]+)", path.read_text())}


def test_every_command_exists_and_is_in_the_readme():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):.*##", makefile))
    assert targets == commands(ROOT / "README.md")
    assert commands(ROOT / ".ci" / "run", ROOT / "CONTRIBUTING.md", *WORKFLOWS) <= targets
    assert targets == set(re.search(r"(?m)^\.PHONY: (.*)$", makefile)[1].split())


def test_the_package_brings_its_licences(tmp_path):
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("*.xz", "__pycache__", "*.egg-info"))
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "lib", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "wheel", "zip")
    (licences,) = (tmp_path / "wheel").glob("*.dist-info/licenses")
    assert (licences / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    data = {path.name for path in (licences / "infocap" / "data" / "bundled").iterdir()}
    assert data == {"LICENSE-mnist.txt", "LICENSE-fashion-mnist.txt"}


# Releases


BUILD = {"profile": "smoke", "settings": [], "device": "cpu", "python": "3.12.1", "system": "Linux", "seconds": {}}


@pytest.fixture
def project(tmp_path):
    """A checkout with one commit and two rendered pages."""
    root = tmp_path / "project"
    pages = {"index.html": "home", "parts/one.html": "one"}
    files = {"lib/pyproject.toml": '[project]\nversion = "1.2.3"\n', "lib/requirements.lock": "a==1\n"}
    files |= {"CHANGELOG.md": "# Changes\n\n## 1.2.3, 2026-12-01\n\n- New.\n\n## 1.2.2, 2026-11-01\n\n- Old.\n"}
    files |= {".gitignore": "/book/_build/\n/dist/\n"} | {
        f"book/_build/html/{name}": page for name, page in pages.items()
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git = ["git", "-C", str(root), "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout.strip()
    (root / "book" / "_build" / "html" / "manifest.json").write_text(json.dumps(BUILD | {"commit": commit}))
    return root


def test_a_tag_needs_its_version_and_its_section(project):
    assert release.notes("v1.2.3", project) == "- New.\n"
    with pytest.raises(SystemExit, match=r"tag: got 'v1\.2'; accepted: 'v1\.2\.3'"):
        release.notes("v1.2", project)
    for wrong in ("## 1.2.3, unreleased", "## 1.2.3", "## 1.2.30, 2026-12-01"):
        (project / "CHANGELOG.md").write_text(f"{wrong}\n\n- New.\n")
        with pytest.raises(SystemExit, match=r"CHANGELOG\.md: no heading '## 1\.2\.3, YYYY-MM-DD'"):
            release.notes("v1.2.3", project)


def test_a_release_holds_sources_pages_and_their_checksums(project):
    dist = release.pack(project)
    files = {path.name: path.read_bytes() for path in dist.iterdir()}
    sums = dict(reversed(line.split("  ")) for line in files.pop("SHA256SUMS").decode().splitlines())
    assert sums == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.loads(files.pop("manifest.json"))
    assert {entry["name"]: (entry["bytes"], entry["sha256"]) for entry in manifest["files"]} == {
        name: (len(content), sums[name]) for name, content in files.items()
    }
    assert manifest["version"] == "1.2.3" and len(manifest["commit"]) == 40 and manifest["build"] == BUILD
    assert manifest["lock"] == hashlib.sha256(b"a==1\n").hexdigest()
    with tarfile.open(dist / "infocap-1.2.3.tar.gz") as archive:
        assert "infocap-1.2.3/lib/pyproject.toml" in archive.getnames()
        assert not [name for name in archive.getnames() if "_build" in name]
    with tarfile.open(dist / "infocap-book-1.2.3.tar.gz") as archive:
        names = [name.removeprefix("infocap-book-1.2.3/") for name in archive.getnames()]
        assert names == ["index.html", "manifest.json", "parts/one.html"]


def test_two_runs_write_the_same_bytes(project, monkeypatch):
    first = {path.name: path.read_bytes() for path in release.pack(project).iterdir()}
    page = project / "book" / "_build" / "html" / "index.html"
    page.touch()
    page.chmod(0o600)
    monkeypatch.setattr("time.time", lambda: 0)
    assert first == {path.name: path.read_bytes() for path in release.pack(project).iterdir()}
    page.write_text("changed")
    assert first != {path.name: path.read_bytes() for path in release.pack(project).iterdir()}


def test_a_release_holds_a_pdf_that_is_not_older_than_the_pages(project):
    pdf = project / "book" / "_build" / "pdf" / "infocap.pdf"
    pdf.parent.mkdir()
    pdf.write_text("a book")
    assert (release.pack(project) / "infocap-book-1.2.3.pdf").read_text() == "a book"
    os.utime(pdf, (0, 0))
    with pytest.raises(SystemExit, match="older than the pages; run `make pdf` again"):
        release.pack(project)


def test_a_release_needs_pages_and_a_clean_checkout(project):
    (project / "CHANGELOG.md").write_text("changed")
    with pytest.raises(SystemExit, match="git: uncommitted changes"):
        release.pack(project)
    manifest = project / "book" / "_build" / "html" / "manifest.json"
    manifest.write_text(json.dumps(BUILD | {"commit": "0123456789ab+changes"}))
    subprocess.run(["git", "-C", str(project), "checkout", "-q", "."], check=True)
    with pytest.raises(
        SystemExit, match=r"pages of commit 0123456789ab\+changes, but this is .*; run `make book` again"
    ):
        release.pack(project)
    manifest.unlink()
    with pytest.raises(SystemExit, match="no pages; run `make book` first"):
        release.pack(project)


# The site


def made_up(releases, version, members, sums=None):
    """A release with an archive of ``members``, names or ``TarInfo``."""
    folder = releases / f"v{version}"
    folder.mkdir(parents=True)
    path = folder / f"infocap-book-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, str):
                member, content = tarfile.TarInfo(member), version.encode()
                member.size = len(content)
            else:
                content = b""
            archive.addfile(member, io.BytesIO(content))
    sums = sums or f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
    (folder / "SHA256SUMS").write_text(sums)


@pytest.fixture
def html(tmp_path):
    folder = tmp_path / "html"
    folder.mkdir()
    (folder / "index.html").write_text("main")
    return folder


def test_the_site_holds_main_and_the_last_of_each_minor_version(html, tmp_path):
    releases = tmp_path / "releases"
    for version in ("0.9.0", "0.10.2", "0.10.10"):
        made_up(releases, version, [f"infocap-book-{version}/index.html"])
    release.site(html, releases)
    assert {path.relative_to(html).as_posix(): path.read_text() for path in html.glob("**/index.html")} == {
        "index.html": "main",
        "v0.9/index.html": "0.9.0",
        "v0.10/index.html": "0.10.10",
    }
    links = re.findall(r'<a href="(.*?)">(.*?)</a>', (html / "versions.html").read_text())
    assert [address for address, _ in links if address.startswith("v")] == ["v0.10/index.html", "v0.9/index.html"]


def test_a_release_that_was_packed_can_be_put_on_the_site(project, html, tmp_path):
    shutil.copytree(release.pack(project), tmp_path / "releases" / "v1.2.3")
    release.site(html, tmp_path / "releases")
    assert (html / "v1.2" / "parts" / "one.html").read_text() == "one"


GH = """#!/bin/sh
case "$1 $2" in
"release list") [ -d "$ASSETS" ] && ls "$ASSETS" ;;
"release download") [ "$4" = --dir ] && mkdir -p "$5" && cp "$ASSETS/$3"/* "$5" ;;
*) exit 1 ;;
esac
"""


def test_the_publishing_step_downloads_every_release(html, tmp_path):
    made_up(tmp_path / "assets", "0.1.0", ["infocap-book-0.1.0/index.html"])
    made_up(tmp_path / "assets", "0.2.0", ["infocap-book-0.2.0/index.html"])
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())["jobs"]["build"]["steps"]
    (script,) = [step["run"] for step in steps if "gh release" in step.get("run", "")]
    place = tmp_path / "place"
    (place / "book" / "_build").mkdir(parents=True)
    (place / ".ci").symlink_to(ROOT / ".ci")
    html.rename(place / "book" / "_build" / "html")
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"

    def run(assets):
        shutil.rmtree(place / "releases", ignore_errors=True)
        environment = {"PATH": path, "ASSETS": str(tmp_path / assets)}
        return subprocess.run(["bash", "-e", "-c", script], cwd=place, env=environment, capture_output=True, text=True)

    assert run("nowhere").returncode == 1, "a site without its releases must not be published"
    outcome = run("assets")
    assert outcome.returncode == 0, outcome.stderr
    assert (place / "book" / "_build" / "html" / "v0.2" / "index.html").read_text() == "0.2.0"


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    "member, message",
    [
        ("../evil", "outside the destination"),
        ("/../evil", "outside the destination"),
        ("infocap-book-1.0.0/../../evil", "outside the destination"),
        (link("infocap-book-1.0.0/evil", "/etc/passwd"), "is not a plain file"),
    ],
    ids=["above", "absolute", "through its own folder", "link"],
)
def test_a_hostile_archive_is_refused(html, tmp_path, member, message):
    made_up(tmp_path / "releases", "1.0.0", ["infocap-book-1.0.0/index.html", member])
    with pytest.raises(SystemExit, match=message) as refusal:
        release.site(html, tmp_path / "releases")
    assert len(str(refusal.value).splitlines()) == 1
    assert not list(tmp_path.rglob("evil")) and not (html / "v1.0").exists()


def test_an_archive_of_absurd_size_is_refused(html, tmp_path, monkeypatch):
    monkeypatch.setattr(release, "LIMIT", 11)
    made_up(tmp_path / "releases", "1.0.0", [f"infocap-book-1.0.0/{n}.html" for n in range(3)])  # 5 bytes each
    with pytest.raises(SystemExit, match="more than 11 bytes"):
        release.site(html, tmp_path / "releases")


def test_what_does_not_fit_its_checksum_is_refused(html, tmp_path):
    made_up(tmp_path / "releases", "1.0.0", ["infocap-book-1.0.0/index.html"], sums=f"{'0' * 64}  infocap-book-1.0.0\n")
    with pytest.raises(SystemExit, match="not the file whose checksum is in SHA256SUMS"):
        release.site(html, tmp_path / "releases")
    (tmp_path / "releases" / "v1.0.0" / "SHA256SUMS").unlink()
    with pytest.raises(SystemExit, match="SHA256SUMS: missing"):
        release.site(html, tmp_path / "releases")


def test_a_folder_that_is_no_version_is_refused(html, tmp_path):
    (tmp_path / "releases" / "..-x").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"releases: got '\.\.-x'; accepted: a tag such as 'v0\.1\.0'"):
        release.site(html, tmp_path / "releases")


def test_the_command_line_says_what_is_wrong_in_one_line():
    command = [sys.executable, str(ROOT / ".ci" / "release.py"), "check", "v99.0.0"]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 1 and outcome.stdout == "" and len(outcome.stderr.splitlines()) == 1
