"""The smallest JSON value that fits a JSON schema, for answers in a `response_format` and arguments of
tools."""

from __future__ import annotations

from typing import Any

_DEEPEST = 32

_EXAMPLES_BY_FORMAT = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "email": "someone@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.org",
}


def smallest_instance(schema: Any, text: str = "") -> Any:
    """A value that fits `schema`; strings begin with `text` where the schema leaves room.

    Objects hold their required properties only, arrays as few items as allowed; `$ref` inside the schema is
    followed. `pattern` and `not` are not obeyed.
    """
    return _Builder(schema, text).build(schema, 0)


class _Builder:
    def __init__(self, root: Any, text: str) -> None:
        self._root = root
        self._text = text

    def build(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        if "$ref" in schema:
            return self.build(self._resolve(schema["$ref"]), depth + 1)
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        if schema.get("enum"):
            return schema["enum"][0]
        for choice in ("anyOf", "oneOf"):
            if schema.get(choice):
                return self.build(schema[choice][0], depth + 1)
        if schema.get("allOf"):
            return self.build(_merged(schema), depth + 1)
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if kind is None:
            kind = "array" if "items" in schema else "object"
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return [
                    self.build(schema.get("items", {}), depth + 1) for _ in range(schema.get("minItems", 0))
                ]
            case "string":
                return self._string(schema)
            case "integer" | "number":
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return True
            case _:
                return None

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties, required = schema.get("properties"), schema.get("required")
        known = properties if isinstance(properties, dict) else {}
        return {
            name: self.build(known.get(name, {"type": "string"}), depth + 1)
            for name in (required if isinstance(required, list) else ())
            if isinstance(name, str)
        }

    def _string(self, schema: dict[str, Any]) -> str:
        example = _EXAMPLES_BY_FORMAT.get(schema.get("format", ""))
        if example is not None:
            return example
        text = self._text or "text"
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength", len(text))
        return text[:longest].ljust(shortest, "x")

    def _resolve(self, reference: str) -> Any:
        place = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            place = (
                place.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(place, dict) else {}
            )
        return place


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {"type": schema.get("type", "object"), "properties": {}, "required": []}
    for part in (schema, *schema["allOf"]):
        if isinstance(part, dict):
            merged["properties"] |= part.get("properties", {})
            merged["required"] += part.get("required", [])
    return merged


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    low = schema.get("minimum")
    if low is None and "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + 1
    high = schema.get("maximum")
    if high is None and "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - 1
    value: float = 0
    if low is not None and value < low:
        value = low
    if high is not None and value > high:
        value = high
    return int(value) if whole else value
