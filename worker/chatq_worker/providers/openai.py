"""openai: OpenAI's Chat Completions. Source: OpenAI API reference and SDK (types.chat.completion_create_params)."""

from __future__ import annotations

from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.providers.adapter import Chat
from chatq_worker.providers.chat_completion_stream import ChatCompletionAssembly
from chatq_worker.providers.chat_messages import without_answer_keys
from chatq_worker.providers.json_mode import format_of, openai_format, saying_json
from chatq_worker.providers.model_rules import rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import WITH_USAGE, SourceAdapter
from chatq_worker.providers.tool_shape import offer_tools

PARAMS: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "metadata",
        "modalities",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "temperature",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""What the API knows, beside what is translated below. It refuses every other key."""

MOST_STOPS: Final = 4


class OpenAIAdapter(SourceAdapter):
    """The cap always travels as `max_completion_tokens`: reasoning models refuse the older name."""

    source = "openai"
    name = "OpenAI"
    base_url = "https://api.openai.com/v1"
    assembly = ChatCompletionAssembly
    streaming = WITH_USAGE

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        body: dict[str, Any] = {"model": chat.model}
        cap = params.output_cap()
        if cap is not None:
            body["max_completion_tokens"] = cap
        effort = params.effort(rules)
        if effort is not None:
            body["reasoning_effort"] = effort
        if effort != "none":
            params.drop_while_thinking(rules)
        stop = params.stops(most=MOST_STOPS)
        if stop is not None:
            body["stop"] = stop
        if "top_logprobs" in params and not params.get("logprobs"):
            params.drop("top_logprobs", "it goes with logprobs only")
        body |= params.rename(PARAMS)
        for name, least, most in (
            ("temperature", 0, 2),
            ("top_p", 0, 1),
            ("frequency_penalty", -2, 2),
            ("presence_penalty", -2, 2),
            ("top_logprobs", 0, 20),
        ):
            params.bound(body, name, least, most)
        offer_tools(body, params)
        messages = without_answer_keys(chat.messages)
        wanted = format_of(params.response_format)
        if wanted is not None:
            body["response_format"] = openai_format(wanted)
            if wanted.kind == "json_object":
                messages, added = saying_json(messages, self.name)
                params.warnings += added
        body["messages"] = messages
        params.drop_rest()
        return body, params.warnings
