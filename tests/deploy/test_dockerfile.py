"""The Dockerfile: what it promises, read from the file; no container engine is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from compose import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1))
    for line in DOCKERFILE.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
COPIED = [
    source
    for name, words in INSTRUCTIONS
    if name == "COPY" and not words.startswith("--from")
    for source in words.split()[:-1]
]


def stages() -> list[list[tuple[str, ...]]]:
    """The instructions of each stage."""
    result: list[list[tuple[str, ...]]] = []
    for instruction in INSTRUCTIONS:
        if instruction[0] == "FROM":
            result.append([])
        result[-1].append(instruction)
    return result


def test_the_image_holds_the_environment_and_nothing_of_how_it_was_made() -> None:
    build, image = stages()
    assert build[0] == ("FROM", "python:3.13-slim AS build")
    assert [words for name, words in image if name == "COPY"] == ["--from=build /opt/chatq /opt/chatq"]
    assert not any("install" in words for name, words in image if name == "RUN")


def test_the_image_does_not_run_as_root() -> None:
    users = [words for name, words in stages()[-1] if name == "USER"]
    assert users == ["10001:10001"]


def test_what_is_installed_is_pinned_by_hash_or_our_own() -> None:
    installs = [words for name, words in INSTRUCTIONS if name == "RUN" and " install " in words]
    assert len(installs) == 2
    assert installs[0].endswith("--require-hashes -r requirements.txt")
    assert installs[1].endswith("--no-deps --no-build-isolation .")


def test_no_index_and_no_download_address_is_named() -> None:
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links|\bcurl\b|\bwget\b", DOCKERFILE)


def test_only_what_the_dockerfile_copies_is_sent_to_the_engine() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(
        source.removeprefix("./") for source in COPIED
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the copied files alone."""
    folder = tmp_path_factory.mktemp("src")
    for source in COPIED:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / source)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.mark.thorough
def test_the_copied_files_are_enough_to_install_everything(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(
            next(name for name in names if name.endswith("entry_points.txt"))
        ).decode()
    written = {
        str(path.relative_to(ROOT / folder))
        for folder in ("producer", "worker", "sandbox")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert written <= names
    assert "chatq = chatq.cli:main" in entry_points
