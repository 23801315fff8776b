"""claude: Anthropic's Messages API. Source: Anthropic SDK (types.message_create_params, message) and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from chatq.contract.connection import Connection
from chatq_worker.providers.adapter import Answer, Chat, Completion, ModelPage, Request
from chatq_worker.providers.chat_completion import choice_of as choice
from chatq_worker.providers.chat_completion import completion_of, count, tool_call, usage_of
from chatq_worker.providers.claude_deltas import MessageDeltas
from chatq_worker.providers.claude_messages import conversation
from chatq_worker.providers.claude_stream import MessageAssembly
from chatq_worker.providers.claude_thinking import think
from chatq_worker.providers.error_answers import bad_answer, failure_inside, object_of
from chatq_worker.providers.json_mode import Format, asked_in_words, format_of
from chatq_worker.providers.model_rules import ModelRules, rules_of
from chatq_worker.providers.parameters import Parameters
from chatq_worker.providers.source_adapter import SourceAdapter, ids_of, quoted
from chatq_worker.providers.tool_shape import NO_PARAMETERS, choice_of, function_of

PARAMS: Final = frozenset(
    {
        "cache_control",
        "container",
        "diagnostics",
        "inference_geo",
        "output_config",
        "speed",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""What the API knows, beside what is translated below. It refuses every other key."""

FINISH_WORDS: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_OLDEST_VERSION: Final = "2023-06-01"
_MOST_STOPS: Final = 8191
_LEAST_OUTPUT: Final = 4096


class ClaudeAdapter(SourceAdapter):
    """`max_tokens` is always sent. The version of the API, sampling, prefill and thinking go by the model."""

    source = "claude"
    name = "Claude"
    base_url = "https://api.anthropic.com"
    chat_path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    versions = ("/v1",)
    assembly = MessageAssembly
    deltas = MessageDeltas

    def headers(self, connection: Connection, key: str | None) -> dict[str, str]:
        return self._headers(key, _OLDEST_VERSION)

    def chat_headers(self, chat: Chat, connection: Connection, key: str | None) -> dict[str, str]:
        return self._headers(key, rules_of(self.source, chat.model).api_version or _OLDEST_VERSION)

    def grows(self, body: Mapping[str, Any]) -> bool:
        return True  # every kind of block is put together

    def body(self, chat: Chat, connection: Connection) -> tuple[dict[str, Any], list[str]]:
        rules = rules_of(self.source, chat.model)
        params = Parameters(chat, self.name, rules)
        cap = params.output_cap(rules.most_output_tokens)
        body: dict[str, Any] = {
            "model": chat.model,
            "max_tokens": cap if cap is not None else rules.default_output_tokens or _LEAST_OUTPUT,
        }
        thinks = think(body, params, rules)
        _settings(body, params, rules)
        messages: Sequence[Mapping[str, Any]] = chat.messages
        wanted = format_of(params.response_format)
        structured = False
        if wanted is not None and wanted.kind != "text":
            structured = wanted.schema is not None and rules.json_schema
            if structured:
                body["output_config"] = {**body.get("output_config", {}), "format": _output_format(wanted)}
            else:
                messages, line = asked_in_words(messages, wanted, self.name)
                params.note(line)
        talk = conversation(
            messages,
            chat.names,
            placeholder=chat.placeholder,
            prefill=rules.prefill and not thinks and not structured,
        )
        params.warnings += talk.warnings
        if talk.system:
            body["system"] = talk.system
        body["messages"] = talk.messages
        _offer(body, params, rules, talk.tools_used, thinks=thinks)
        params.drop_rest()
        return body, params.warnings

    def read(self, answer: Answer, chat: Chat, connection: Connection) -> Completion:
        data = object_of(answer, self.source)
        if data.get("type") == "error" or (data.get("error") and "content" not in data):
            raise failure_inside(answer, self.source, data)
        blocks = data.get("content")
        if not isinstance(blocks, list):
            raise bad_answer(answer, "without content")
        usage = data.get("usage")
        cached = count(usage, "cache_read_input_tokens")
        prompt = [
            count(usage, name)
            for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        ]
        return completion_of(
            answer,
            chat,
            data=data,
            choices=[_choice(data, [block for block in blocks if isinstance(block, dict)])],
            usage=usage_of(
                sum(filter(None, prompt)) if prompt[0] is not None else None,
                count(usage, "output_tokens"),
                cached=cached,
                reasoning=count(usage, "output_tokens_details", "thinking_tokens"),
            ),
            usage_extra=usage if isinstance(usage, dict) else None,
            warnings=_refused(data),
        )

    def models_request(
        self, connection: Connection, key: str | None, page: str | None = None
    ) -> Request | None:
        path = self.models_path + (f"&after_id={quoted(page)}" if page else "")
        return Request("GET", self.url(connection, path), self.headers(connection, key))

    def read_models(self, answer: Answer, connection: Connection, page: str | None = None) -> ModelPage:
        rows, around = self.model_rows(answer)
        last = around.get("last_id")
        more = around.get("has_more") is True and isinstance(last, str) and last not in ("", page)
        return ModelPage(ids_of(rows, "id"), last if more else None)

    def _headers(self, key: str | None, version: str) -> dict[str, str]:
        own = {} if key is None else {"x-api-key": key}
        return {**own, "anthropic-version": version}


def _settings(body: dict[str, Any], params: Parameters, rules: ModelRules) -> None:
    """Everything that is neither messages nor tools, into the body, in place."""
    if rules.temperature_or_top_p and "temperature" in params:
        params.drop("top_p", "the model takes temperature or top_p, not both")
    own_config = params.take("output_config")
    if isinstance(own_config, Mapping):
        body["output_config"] = {**own_config, **body.get("output_config", {})}
    body |= params.rename(PARAMS)
    params.bound(body, "temperature", 0, 1)
    if "stop" in params:
        params.take("stop_sequences")
    stops = params.stops("stop" if "stop" in params else "stop_sequences", most=_MOST_STOPS, only_text=True)
    if stops is not None:
        body["stop_sequences"] = stops
    tier = params.take("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        body["service_tier"] = _TIERS[tier]
    elif tier is not None:
        params.warn("service_tier", "Claude knows auto and standard_only")
    metadata = params.take("metadata")
    user = metadata.get("user_id") if isinstance(metadata, Mapping) else None
    if isinstance(metadata, Mapping) and set(metadata) - {"user_id"}:
        params.warn("metadata", "Claude takes user_id only")
    for name in ("user", "safety_identifier"):
        user = params.take(name) or user
    if isinstance(user, str):
        body["metadata"] = {"user_id": user}


def _output_format(wanted: Format) -> dict[str, Any]:
    return {"type": "json_schema", "schema": wanted.schema}


def _offer(
    body: dict[str, Any], params: Parameters, rules: ModelRules, tools_used: list[str], *, thinks: bool
) -> None:
    """Tools and their choice, into the body, in place."""
    tools = [_tool(tool) for tool in params.tools or ()]
    parallel = params.take("parallel_tool_calls")
    if not tools:
        if params.tool_choice is not None and params.tool_choice != "none":
            params.warn("tool_choice", "no tools are offered")
        if parallel is not None:
            params.warn("parallel_tool_calls", "no tools are offered")
        if tools_used:
            # A history with calls is refused without their tools. They are named, and not to be called.
            body["tools"] = [{"name": name, "input_schema": NO_PARAMETERS} for name in tools_used]
            body["tool_choice"] = {"type": "none"}
        return
    body["tools"] = tools
    wanted = choice_of(params.tool_choice)
    if wanted is not None:
        forced = wanted.mode == "required"
        if forced and (thinks or not rules.forced_tools):
            why = (
                "Claude cannot be made to call a tool while it thinks"
                if thinks
                else "the model cannot be made to call a tool"
            )
            params.changed("tool_choice", "auto", why)
            body["tool_choice"] = {"type": "auto"}
        elif wanted.function is not None:
            body["tool_choice"] = {"type": "tool", "name": wanted.function}
        else:
            body["tool_choice"] = {"type": {"required": "any"}.get(wanted.mode, wanted.mode)}
    if parallel is False and body.get("tool_choice", {}).get("type") != "none":
        body["tool_choice"] = {
            **body.get("tool_choice", {"type": "auto"}),
            "disable_parallel_tool_use": True,
        }


def _tool(tool: Any) -> Any:
    """A function in Claude's shape; a tool of Claude's own as it is."""
    function = function_of(tool)
    if function is None:
        return tool
    own: dict[str, Any] = {**function.rest, "name": function.name}
    if function.description is not None:
        own["description"] = function.description
    own["input_schema"] = {"type": "object", **(function.parameters or NO_PARAMETERS)}
    if function.strict:
        own["strict"] = True
    return own


def _choice(data: Mapping[str, Any], blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts, thoughts, calls, kept_thoughts, others = [], [], [], [], []
    annotations: list[dict[str, Any]] = []
    citations: list[Any] = []
    length = 0
    for block in blocks:
        kind = block.get("type")
        if kind == "text" and isinstance(block.get("text"), str):
            texts.append(block["text"])
            begin, length = length, length + len(block["text"])
            cited = block.get("citations")
            for citation in cited if isinstance(cited, list) else ():
                citations.append(citation)
                annotations += _annotation(citation, begin, length)
        elif kind in ("thinking", "redacted_thinking"):
            kept_thoughts.append(block)
            if isinstance(block.get("thinking"), str):
                thoughts.append(block["thinking"])
        elif kind == "tool_use":
            calls.append(tool_call(block.get("id"), block.get("name"), block.get("input")))
        else:
            others.append(block)
    beside = {
        "annotations": annotations,
        "citations": citations,
        "thinking_blocks": kept_thoughts,
        "content_blocks": others,
    }
    stop = data.get("stop_reason")
    details = {name: data[name] for name in ("stop_sequence", "stop_details") if data.get(name) is not None}
    return choice(
        0,
        text="".join(texts) if texts else None,
        finish=stop,
        finish_words=FINISH_WORDS,
        reasoning="".join(thoughts) or None,
        refusal=_explanation(data),
        tool_calls=calls,
        message_extra={name: values for name, values in beside.items() if values},
        extra=details,
    )


def _annotation(citation: Any, begin: int, end: int) -> list[dict[str, Any]]:
    """A citation of a web page as OpenAI's url_citation; none for one of a document."""
    if not isinstance(citation, Mapping) or not isinstance(citation.get("url"), str):
        return []
    cited = {"start_index": begin, "end_index": end, "url": citation["url"], "title": citation.get("title")}
    return [{"type": "url_citation", "url_citation": cited}]


def _explanation(data: Mapping[str, Any]) -> str | None:
    """Why the model refused, where the source says so."""
    details = data.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, Mapping) else None
    return explanation if isinstance(explanation, str) and explanation else None


def _refused(data: Mapping[str, Any]) -> list[str]:
    if data.get("stop_reason") != "refusal":
        return []
    details = data.get("stop_details")
    category = details.get("category") if isinstance(details, Mapping) else None
    about = f" (category {category})" if isinstance(category, str) and category else ""
    return [f"The model refused to answer{about}."]
