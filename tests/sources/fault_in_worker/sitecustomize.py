"""Python runs this when a process starts with this folder on its path: a bug in the worker, for a test.

The adapter of custom servers raises an error that shows the key, as a careless bug would, for connections whose model
is `buggy`.
"""

from __future__ import annotations

import os
import sys

if "chatq_worker" in sys.orig_argv:
    from chatq_worker.providers.custom import CustomAdapter

    _body = CustomAdapter.body

    def _buggy_body(self, chat, connection):  # type: ignore[no-untyped-def]
        if chat.model == "buggy":
            raise RuntimeError(f"cannot use key {os.environ['TEST_ODD_KEY']}")
        return _body(self, chat, connection)

    CustomAdapter.body = _buggy_body  # type: ignore[method-assign]
