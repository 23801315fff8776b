"""The type of each source's request body, as its official SDK declares it.

Three kinds of declaration: TypedDicts and models are taken as they are; where an SDK has only a method, its parameters
are the body's keys. DeepSeek, Electron Hub and custom servers have no SDK: OpenAI's type with what the documents add.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Literal, NotRequired, Required

from ai21.clients.studio.resources.chat import chat_completions as ai21
from ai21.models.chat import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming as ClaudeRequest
from anthropic.types.message_create_params import MessageCreateParamsStreaming as ClaudeStream
from cohere.v2.client import V2Client
from fireworks.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as FireworksRequest,
)
from fireworks.types.chat.completion_create_params import (
    CompletionCreateParamsStreaming as FireworksSDKStream,
)
from mistralai.client.models.chatcompletionrequest import ChatCompletionRequest as MistralRequest
from openai.types import chat as openai
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as OpenAIRequest
from perplexity.generated.api import ResponsesRequestInput as AgentRequest
from perplexity.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as SonarRequest,
)
from typing_extensions import TypedDict, get_type_hints


class Thinking(TypedDict):
    """DeepSeek, Thinking Mode."""

    type: Literal["enabled", "disabled"]


class DeepSeekAssistant(openai.ChatCompletionAssistantMessageParam, total=False):
    """DeepSeek, Create Chat Completion: what an earlier turn thought, and the mark of a prefix."""

    reasoning_content: str
    prefix: bool


DeepSeekMessage = (
    openai.ChatCompletionSystemMessageParam
    | openai.ChatCompletionUserMessageParam
    | DeepSeekAssistant
    | openai.ChatCompletionToolMessageParam
)


class DeepSeekRequest(OpenAIRequest, total=False):
    """DeepSeek, Create Chat Completion."""

    messages: Required[Iterable[DeepSeekMessage]]
    thinking: Thinking
    reasoning_effort: Literal["low", "high", "max"]
    user_id: str


class Reasoning(TypedDict, total=False):
    """Electron Hub, Chat Completions."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"]
    exclude: bool


class ElectronHubRequest(OpenAIRequest, total=False):
    """Electron Hub, Chat Completions; and samplers of the models behind it, which it drops where one has them not."""

    reasoning: Reasoning
    web_search: bool
    top_k: int
    min_p: float
    repetition_penalty: float


class CustomAssistant(openai.ChatCompletionAssistantMessageParam, total=False):
    """An answer sent back as it came: messages go to a custom server as they are, it may want its reasoning again."""

    reasoning_content: str
    annotations: list[dict[str, object]]


CustomMessage = (
    openai.ChatCompletionDeveloperMessageParam
    | openai.ChatCompletionSystemMessageParam
    | openai.ChatCompletionUserMessageParam
    | CustomAssistant
    | openai.ChatCompletionToolMessageParam
)


class CustomRequest(OpenAIRequest, total=False):
    """Samplers and switches of LM Studio, Oobabooga, TabbyAPI, Aphrodite, llama.cpp, vLLM."""

    messages: Required[Iterable[CustomMessage]]
    top_k: int
    min_p: float
    repeat_penalty: float
    repetition_penalty: float
    dry_multiplier: float
    chat_template_kwargs: dict[str, object]
    mode: Literal["instruct", "chat", "chat-instruct"]
    instruction_template: str


class ClaudeSampling(TypedDict, total=False):
    """Version 2023-06-01 of the API; the SDK's own types are those of 2026-10-21, which has no sampling."""

    temperature: float
    top_p: float
    top_k: int


class ClaudeSamplingRequest(ClaudeRequest, ClaudeSampling):
    """An answer as a whole."""


class ClaudeSamplingStream(ClaudeStream, ClaudeSampling):
    """A long answer."""


class FireworksStream(FireworksSDKStream, total=False):
    """A long answer, with what the SDK does not declare and the API takes: without it some models' streams have no
    usage (found by Vercel's AI SDK, LangChain and LiteLLM, which all send it)."""

    stream_options: openai.ChatCompletionStreamOptionsParam


def of_method(method: Callable[..., Any], name: str, **keys: Any) -> Any:
    """A TypedDict with a method's keyword parameters. `keys`: what the method does not say, or says too widely."""
    hints = get_type_hints(method, include_extras=True)
    found: dict[str, Any] = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name in ("self", "request_options") or parameter.kind is parameter.VAR_KEYWORD:
            continue
        needed = parameter.default is parameter.empty
        found[parameter.name] = (Required if needed else NotRequired)[hints[parameter.name]]
    return TypedDict(name, {**found, **keys})  # type: ignore[operator]


AI21Request = of_method(
    ai21.ChatCompletions.create,
    "AI21Request",
    # The SDK's union ends with a message of any role and no other key, which would let every mistake pass.
    messages=Required[list[UserMessage | AssistantMessage | ToolMessage | SystemMessage]],
    # Passed through by the SDK's **kwargs; litellm's ai21 module sends them.
    seed=NotRequired[int],
    tool_choice=NotRequired[str],
)
CohereRequest = of_method(V2Client.chat, "CohereRequest", stream=Required[Literal[False]])


STREAMS: dict[Any, Any] = {
    ClaudeRequest: ClaudeStream,
    ClaudeSamplingRequest: ClaudeSamplingStream,
    FireworksRequest: FireworksStream,
}
"""The types of the sources that are asked for streams."""


def request_type(source: str, headers: dict[str, str], *, streams: bool) -> Any:
    """The type of the body of a request to a source. `source` is `perplexity-sonar` for Perplexity's older API."""
    whole = _request_type(source, headers)
    return STREAMS.get(whole, whole) if streams else whole


def _request_type(source: str, headers: dict[str, str]) -> Any:
    if source == "claude" and headers["anthropic-version"] == "2023-06-01":
        return ClaudeSamplingRequest
    return {
        "openai": OpenAIRequest,
        "claude": ClaudeRequest,
        "mistralai": MistralRequest,
        "deepseek": DeepSeekRequest,
        "ai21": AI21Request,
        "cohere": CohereRequest,
        "perplexity": AgentRequest,
        "perplexity-sonar": SonarRequest,
        "fireworks": FireworksRequest,
        "electronhub": ElectronHubRequest,
        "custom": CustomRequest,
    }[source]
