"""deploy/kubernetes/ by Kubernetes' own schemas, in which a key that they do not have is an error."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "deploy" / "kubernetes"
VERSIONS = ("1.29.0", "1.34.0")


def validate(command: Path, version: str, *files: Path) -> subprocess.CompletedProcess[str]:
    words = [command, "--strict", "--kubernetes-version", version, *files]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_as_kubernetes_wants_it(kubernetes_validate: Path, version: str) -> None:
    # KEDA's is none of Kubernetes' own: tests/deploy/test_kubernetes.py.
    files = [path for path in sorted(FOLDER.glob("*.yaml")) if path.name != "keda.yaml"]
    assert len(files) == 8
    checked = validate(kubernetes_validate, version, *files)
    said = checked.stdout + checked.stderr
    assert checked.returncode == 0, said
    assert said.count(" passed for resource ") == 17, said
    assert "WARN" not in said


def test_a_misspelt_key_is_an_error(kubernetes_validate: Path, tmp_path: Path) -> None:
    text = (FOLDER / "worker.yaml").read_text("utf-8")
    wrong = tmp_path / "worker.yaml"
    wrong.write_text(text.replace("terminationGracePeriodSeconds", "terminationGracePeriod"))
    checked = validate(kubernetes_validate, VERSIONS[0], wrong)
    assert checked.returncode != 0
    assert "terminationGracePeriod" in checked.stdout + checked.stderr
