"""Whether Hypothesis needs `same_examples.py`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from hypothesis.internal.conjecture import providers

from same_examples import constants_of_loaded_modules, draw_no_constants_of_our_code


def test_hypothesis_still_draws_constants_of_modules_that_happen_to_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.joinpath("just_loaded.py").write_text("CONSTANT = 1918273645\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("just_loaded")
    assert 1918273645 in constants_of_loaded_modules().integers


def test_ours_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_get_local_constants", constants_of_loaded_modules)
    draw_no_constants_of_our_code()
    assert len(providers._get_local_constants()) == 0
