"""Every dialect there is, by its name in the configuration and in the path."""

from __future__ import annotations

from chatq_sandbox.dialects.ai21 import AI21
from chatq_sandbox.dialects.base import Dialect
from chatq_sandbox.dialects.claude import Claude
from chatq_sandbox.dialects.cohere import Cohere
from chatq_sandbox.dialects.custom import Custom
from chatq_sandbox.dialects.custom_engines import VLLM, Aphrodite, LlamaCpp, Ollama
from chatq_sandbox.dialects.custom_servers import (
    Bare,
    Gateway,
    LiteLLM,
    LMStudio,
    LocalAI,
    Oobabooga,
    TabbyAPI,
)
from chatq_sandbox.dialects.deepseek import DeepSeek
from chatq_sandbox.dialects.electronhub import ElectronHub
from chatq_sandbox.dialects.fireworks import Fireworks
from chatq_sandbox.dialects.mistralai import MistralAI
from chatq_sandbox.dialects.openai import OpenAI
from chatq_sandbox.dialects.perplexity import Perplexity
from chatq_sandbox.dialects.perplexity_sonar import PerplexitySonar

DIALECTS: dict[str, Dialect] = {
    dialect.source: dialect
    for dialect in (
        OpenAI(),
        Claude(),
        MistralAI(),
        DeepSeek(),
        Cohere(),
        Perplexity(),
        PerplexitySonar(),
        Fireworks(),
        ElectronHub(),
        AI21(),
        Custom(),
        LMStudio(),
        LiteLLM(),
        LocalAI(),
        TabbyAPI(),
        Oobabooga(),
        Aphrodite(),
        LlamaCpp(),
        VLLM(),
        Ollama(),
        Gateway(),
        Bare(),
    )
}

ROOT = "openai"
"""The dialect that is spoken without a prefix as well."""
