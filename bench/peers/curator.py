"""Bespoke Curator, told of no limit but the calls at once; without its cache, which would answer the second time."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from pathlib import Path

from contender import Work, contend


def surroundings() -> dict[str, str]:
    """Its environment. It counts tokens with a vocabulary that it would fetch; LiteLLM, which it needs, brings it."""
    litellm = importlib.util.find_spec("litellm")
    if litellm is None or litellm.origin is None:
        raise ModuleNotFoundError("litellm")
    return {
        "TIKTOKEN_CACHE_DIR": str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"),
        "TELEMETRY_ENABLED": "false",
        "CURATOR_DISABLE_CACHE": "true",
        "CURATOR_DISABLE_RICH_DISPLAY": "true",
        "HF_HUB_OFFLINE": "1",
        "OPENAI_API_KEY": "bench",
    }


def run(work: Work) -> int:
    from bespokelabs import curator

    with tempfile.TemporaryDirectory() as folder:
        llm = curator.LLM(
            model_name="local-model",
            backend="openai",
            backend_params={
                "base_url": work.url,
                "max_requests_per_minute": 10_000_000,
                "max_tokens_per_minute": 10_000_000_000,
                "max_concurrent_requests": work.at_once,
            },
        )
        return len(llm(work.prompts(), working_dir=folder).dataset)


if __name__ == "__main__":
    os.environ.update(surroundings())
    contend(run, "bespokelabs-curator")
