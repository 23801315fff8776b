"""Adapters: one file a source. Pure: job and connection in, HTTP request out; HTTP answer in, completion out."""

from __future__ import annotations

from chatq_worker.providers.adapter import Adapter, Answer, Chat, Completion, Prepared, Request, Usage
from chatq_worker.providers.custom import CustomAdapter
from chatq_worker.providers.openai import OpenAIAdapter

ADAPTERS: dict[str, Adapter] = {adapter.source: adapter for adapter in (OpenAIAdapter(), CustomAdapter())}
"""The adapter of each source, by its id."""

__all__ = ["ADAPTERS", "Adapter", "Answer", "Chat", "Completion", "Prepared", "Request", "Usage"]
