"""electronhub: an aggregator in OpenAI's shape. Source: Electron Hub, Chat Completions, Rate Limits, Error Handling."""

from __future__ import annotations

from typing import Any

from chatq.contract.connection import Connection
from chatq_worker.providers.adapter import Chat
from chatq_worker.providers.chat_completion_stream import GatewayAssembly
from chatq_worker.providers.chat_messages import without_answer_keys
from chatq_worker.providers.json_mode import format_of, openai_format
from chatq_worker.providers.model_rules import rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import WITH_USAGE, SourceAdapter
from chatq_worker.providers.tool_shape import offer_tools


class ElectronHubAdapter(SourceAdapter):
    """Parameters pass as they are: it drops what the model behind it cannot take.

    Its model list may be open to everybody, and every call counts, failed ones too: a check is one chat of one token.
    """

    source = "electronhub"
    name = "Electron Hub"
    base_url = "https://api.electronhub.ai/v1"
    thinks_aloud = True
    check_is_chat = True
    assembly = GatewayAssembly
    streaming = WITH_USAGE

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        body: dict[str, Any] = {"model": chat.model}
        cap = params.output_cap()
        if cap is not None:
            body["max_tokens"] = cap
        effort = params.effort(rules)
        if effort is not None:
            body["reasoning_effort"] = effort
        offer_tools(body, params)
        wanted = format_of(params.response_format)
        if wanted is not None:
            body["response_format"] = openai_format(wanted)
        body |= params.rest()
        body["messages"] = without_answer_keys(chat.messages)
        return body, params.warnings
