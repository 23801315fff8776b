"""LiteLLM's `batch_completion`: one call for many prompts, with threads."""

from __future__ import annotations

import litellm
from contender import Work, contend


def run(work: Work) -> int:
    answers = litellm.batch_completion(
        model="openai/local-model",
        messages=[[{"role": "user", "content": prompt}] for prompt in work.prompts()],
        api_base=work.url,
        api_key="bench",
        max_workers=work.at_once,
    )
    return sum(isinstance(answer, litellm.ModelResponse) for answer in answers)


contend(run, "litellm")
