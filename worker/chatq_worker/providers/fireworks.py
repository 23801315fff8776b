"""fireworks: OpenAI's shape with more samplers. Source: Fireworks SDK (types.chat) and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.prompts import Names
from chatq_worker.providers.adapter import Answer, Chat, ModelPage, Request
from chatq_worker.providers.chat_completion_stream import ChatCompletionAssembly
from chatq_worker.providers.chat_messages import modern, speakers, spoken, without_answer_keys
from chatq_worker.providers.json_mode import format_of, openai_format
from chatq_worker.providers.model_rules import rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import WITH_USAGE, SourceAdapter, ids_of, quoted
from chatq_worker.providers.tool_shape import offer_tools

PARAMS: Final = frozenset(
    {
        "context_length_exceeded_behavior",
        "echo",
        "echo_last",
        "frequency_penalty",
        "function_call",
        "functions",
        "ignore_eos",
        "logit_bias",
        "logprobs",
        "metadata",
        "min_p",
        "mirostat_lr",
        "mirostat_target",
        "n",
        "parallel_tool_calls",
        "perf_metrics_in_response",
        "prediction",
        "presence_penalty",
        "prompt_cache_isolation_key",
        "prompt_cache_key",
        "prompt_truncate_len",
        "raw_output",
        "reasoning_history",
        "repetition_penalty",
        "return_token_ids",
        "safe_tokenization",
        "seed",
        "service_tier",
        "speculation",
        "stop",
        "temperature",
        "thinking",
        "top_k",
        "top_logprobs",
        "top_p",
        "typical_p",
        "user",
    }
)

_MODELS_PREFIX: Final = "accounts/fireworks/models/"
_INFERENCE: Final = "/inference/v1"
_ACCOUNT_LIST: Final = "/v1/accounts/fireworks/models?pageSize=200"
_FIRST_ACCOUNT_PAGE: Final = "account"
_ACCOUNT_PAGE: Final = "account:"
_PATCHY: Final = frozenset({404, 405, 500, 501, 502, 503})


class FireworksAdapter(SourceAdapter):
    """A model's bare name is completed to that of Fireworks's own account.

    The list of the inference API leaves models out, and fails for some accounts, so that of the account is read after
    it. Neither proves anything about the key.
    """

    source = "fireworks"
    name = "Fireworks"
    base_url = "https://api.fireworks.ai/inference/v1"
    thinks_aloud = True
    check_is_chat = True
    assembly = ChatCompletionAssembly
    # Unasked, some models' streams have no usage. Fireworks's SDK does not know the field; LiteLLM and others send it.
    streaming = WITH_USAGE

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        model = chat.model if "/" in chat.model else _MODELS_PREFIX + chat.model
        body: dict[str, Any] = {"model": model}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        effort = params.get("reasoning_effort")
        if isinstance(effort, str):
            effort = params.effort(rules)
        else:
            params.take("reasoning_effort")  # a number of tokens, or on and off: Fireworks's own forms
        if effort is not None:
            body["reasoning_effort"] = effort
        if not isinstance(params.get("thinking"), dict | None):
            params.drop("thinking", 'it is written as {"type": "enabled"}')
        body |= params.rename(PARAMS)
        offer_tools(body, params, knows_any=True)
        wanted = format_of(params.response_format)
        if wanted is not None:
            body["response_format"] = openai_format(wanted)
        body["messages"] = messages_for_fireworks(chat.messages, chat.names)
        params.drop_rest()
        return body, params.warnings

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        if page is None:
            return super().models_request(connection, key)
        token = page.removeprefix(_FIRST_ACCOUNT_PAGE).removeprefix(":")
        base = (connection.url or self.base_url).removesuffix(_INFERENCE).removesuffix("/v1")
        url = base + _ACCOUNT_LIST + (f"&pageToken={quoted(token)}" if token else "")
        return Request("GET", url, self.headers(connection, key))

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        if answer.status in _PATCHY:
            return ModelPage((), _FIRST_ACCOUNT_PAGE if page is None else None)
        rows, around = self.model_rows(answer)
        rows = [row for row in rows if not (isinstance(row, dict) and row.get("supports_chat") is False)]
        if page is None:
            return ModelPage(ids_of(rows, "id"), _FIRST_ACCOUNT_PAGE)
        token = around.get("nextPageToken")
        more = isinstance(token, str) and token != ""
        return ModelPage(ids_of(rows, "name", "id"), f"{_ACCOUNT_PAGE}{token}" if more else None)


def messages_for_fireworks(messages: Sequence[Mapping[str, Any]], names: Names) -> list[dict[str, Any]]:
    """OpenAI messages as Fireworks takes them: a message has no name, so it is written into the text.

    What the model thought goes back: `reasoning_history` says what becomes of it.
    Source: Fireworks SDK, types.shared_params.chat_message.
    """
    result = []
    for message, own in zip(messages, without_answer_keys(modern(messages)), strict=True):
        if "content" in own:
            own["content"] = spoken(own["content"], speakers(own, names))
        thought = message.get("reasoning_content")
        if thought is not None:
            own["reasoning_content"] = thought
        for key in ("name", "refusal", "audio"):
            own.pop(key, None)
        result.append(own)
    return result
