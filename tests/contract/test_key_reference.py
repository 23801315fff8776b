"""Who may be able to read a file with a secret."""

from __future__ import annotations

import os

import pytest

from chatq.contract.key_reference import is_open_to_others
from for_each import for_each

ROOT, OURS, ANOTHER = 0, 10001, 10002


@for_each(
    ("mode", "owner", "reader", "is_open"),
    [
        (0o600, OURS, OURS, False),
        (0o400, OURS, OURS, False),
        (0o640, OURS, OURS, True),
        (0o604, OURS, OURS, True),
        (0o620, OURS, OURS, True),
        (0o440, ROOT, OURS, False),  # a secret of Kubernetes, a credential of systemd: root lets us read
        (0o640, ROOT, OURS, False),
        (0o660, ROOT, OURS, True),
        (0o444, ROOT, OURS, True),
        (0o600, ROOT, ROOT, False),
        (0o640, ROOT, ROOT, True),
        (0o640, ANOTHER, OURS, True),
    ],
)
def test_a_file_of_ours_is_for_us_alone_and_one_of_roots_for_whom_it_lets_read(
    mode: int, owner: int, reader: int, is_open: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: reader)
        assert is_open_to_others(os.stat_result((mode, 1, 1, 1, owner, 1, 1, 0, 0, 0))) is is_open
