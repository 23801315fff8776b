"""Celery as its documents have it: one task a call, results in Redis."""

from __future__ import annotations

import os

import httpx
import requests
from celery import Celery

REDIS = os.environ["BENCH_REDIS"]
app = Celery(broker=REDIS, backend=REDIS)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=10_000))


def body(prompt: str) -> dict[str, object]:
    return {"model": "local-model", "messages": [{"role": "user", "content": prompt}]}


@app.task  # type: ignore[untyped-decorator]
def naive(url: str, prompt: str) -> str:
    """As one writes it first."""
    answer = httpx.post(f"{url}/chat/completions", json=body(prompt), timeout=60)
    return str(answer.json()["choices"][0]["message"]["content"])


@app.task  # type: ignore[untyped-decorator]
def pooled(url: str, prompt: str) -> str:
    """With a client that keeps its connections, shared by the threads of the process."""
    answer = session.post(f"{url}/chat/completions", json=body(prompt), timeout=60)
    return str(answer.json()["choices"][0]["message"]["content"])
