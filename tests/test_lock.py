"""The lock gives what the ranges ask for, on every Python and system that we name."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text())["project"]
RANGES = [Requirement(r) for r in (*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), []))]
LOCK = (ROOT / "lib" / "requirements.lock").read_text()
PINS = re.findall(r"(?m)^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)\s*(?:;\s*([^\\\n]+?))?\s*\\?$", LOCK)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_lock_lies_in_the_ranges(python, system):
    platform = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system]
    place = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": system}
    place |= {"platform_system": platform, "os_name": "nt" if system == "win32" else "posix"}
    machine = {"platform_machine": "arm64" if system == "darwin" else "x86_64"}
    pins = {}
    for name, version, marker in PINS:
        if not marker or Marker(marker).evaluate(place | machine):
            pins.setdefault(canonicalize_name(name), []).append(Version(version))
    for wanted in RANGES:
        if wanted.marker and not wanted.marker.evaluate(place | machine):
            continue
        found = pins.get(canonicalize_name(wanted.name), [])
        assert len(found) == 1, f"{wanted.name}: the lock has {found or 'no version'} for {python} on {system}"
        assert found[0] in wanted.specifier, f"{wanted.name} {found[0]} is outside {wanted.specifier}"


def test_every_pin_has_a_hash():
    blocks = re.split(r"(?m)^(?=[\w.-]+(?:\[[\w,-]+\])?==)", LOCK)[1:]
    assert len(blocks) == len(PINS) > 100
    assert all("--hash=sha256:" in block for block in blocks)


def test_torchvision_accepts_the_torch_beside_it():
    pins = {name: version for name, version, _ in PINS}
    assert metadata.version("torchvision").split("+")[0] == pins["torchvision"], "run make setup"
    (wanted,) = [r for r in map(Requirement, metadata.requires("torchvision")) if r.name == "torch"]
    assert Version(pins["torch"]) in wanted.specifier


def test_conda_users_get_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-r lib/requirements.lock"]
    (python,) = [entry for entry in environment["dependencies"] if str(entry).startswith("python=")]
    assert python.removeprefix("python=") + ".0" in Requirement(f"python{PROJECT['requires-python']}").specifier
