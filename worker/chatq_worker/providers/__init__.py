"""Adapters: one file a source. Pure: job and connection in, HTTP request out; HTTP answer in, completion out.

Read `adapter.py` first, then `openai.py`. What single models take and refuse is one table, in `model_rules.py`; how
calls are charged against limits another, in `charging.py`; what error answers mean a third, in `error_signs.py`. What
answers tell of limits is read in `rate_limit_headers.py`, when to come back in `retry_after.py`.
"""

from __future__ import annotations

from chatq_worker.providers.adapter import (
    Adapter,
    Answer,
    Assembly,
    BrokenStream,
    Chat,
    Check,
    CheckKind,
    CheckReading,
    Completion,
    Delta,
    Deltas,
    ModelPage,
    Prepared,
    Request,
    Usage,
)
from chatq_worker.providers.ai21 import AI21Adapter
from chatq_worker.providers.claude import ClaudeAdapter
from chatq_worker.providers.cohere import CohereAdapter
from chatq_worker.providers.custom import CustomAdapter
from chatq_worker.providers.deepseek import DeepSeekAdapter
from chatq_worker.providers.electronhub import ElectronHubAdapter
from chatq_worker.providers.fireworks import FireworksAdapter
from chatq_worker.providers.mistralai import MistralAdapter
from chatq_worker.providers.openai import OpenAIAdapter
from chatq_worker.providers.overheard import Overheard
from chatq_worker.providers.parameters import merged_params
from chatq_worker.providers.perplexity import PerplexityAdapter

_ALL: tuple[Adapter, ...] = (
    OpenAIAdapter(),
    ClaudeAdapter(),
    MistralAdapter(),
    DeepSeekAdapter(),
    AI21Adapter(),
    CohereAdapter(),
    PerplexityAdapter(),
    FireworksAdapter(),
    ElectronHubAdapter(),
    CustomAdapter(),
)

ADAPTERS: dict[str, Adapter] = {adapter.source: adapter for adapter in _ALL}
"""The adapter of each source, by its id."""

__all__ = [
    "ADAPTERS",
    "Adapter",
    "Answer",
    "Assembly",
    "BrokenStream",
    "Chat",
    "Check",
    "CheckKind",
    "CheckReading",
    "Completion",
    "Delta",
    "Deltas",
    "ModelPage",
    "Overheard",
    "Prepared",
    "Request",
    "Usage",
    "merged_params",
]
