"""Binder, Colab and development containers start from files that agree with the package."""

import json
import os
import subprocess
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = {requirement.name: requirement for requirement in map(Requirement, PROJECT["dependencies"])}


def test_binder_builds_for_processors_and_adds_the_library():
    environment = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    python, pip, torch, vision = environment["dependencies"]
    assert python.removeprefix("python=") in SpecifierSet(PROJECT["requires-python"]) and pip == "pip"
    assert torch == f"pytorch-cpu{RANGES['torch'].specifier}"  # the default build is gigabytes of CUDA
    assert vision == f"torchvision{RANGES['torchvision'].specifier}"
    script = ROOT / ".binder" / "postBuild"
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    assert "pip install --no-cache-dir ./lib\n" in script.read_text() and (ROOT / "lib" / "pyproject.toml").exists()


def test_the_development_container_sets_itself_up():
    content = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    image, version = content["image"].split(":")
    assert image == "python" and version in SpecifierSet(PROJECT["requires-python"])  # the full image brings make, git
    assert content["postCreateCommand"] == "make setup"
    assert content["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"] == ".venv/bin/python"
    assert "\nsetup: " in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_launch_buttons_lead_to_the_committed_notebooks():
    options = yaml.safe_load((ROOT / "book" / "_config.yml").read_text(encoding="utf-8"))
    options = options["sphinx"]["config"]["html_theme_options"]
    assert (options["path_to_docs"], options["repository_branch"]) == ("book", "main")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert options["repository_url"] == citation.get("repository-code", options["repository_url"])
