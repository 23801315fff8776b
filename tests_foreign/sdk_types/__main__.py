"""`python sdk_types`, in the environment of the SDKs: which requests are not of their source's type.

A line in, `{"source", "headers", "body"}`; a line out, the list of its problems.
"""

from __future__ import annotations

import json
import sys

import strict
from request_types import request_type

for line in sys.stdin:
    request = json.loads(line)
    streams = request["body"].get("stream") is True
    kind = request_type(request["source"], request["headers"], streams=streams)
    print(json.dumps(list(strict.lines(strict.problems(request["body"], kind)))))  # noqa: T201 - its work
