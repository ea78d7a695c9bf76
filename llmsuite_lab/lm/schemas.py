"""JSON schemas as a language model reads them: short, in words, with what is inside of lists and objects.

    {"anyOf": [{"items": {"type": "integer"}, "type": "array"}, {"type": "null"}]}   →   list of integer or null

For the arguments of a tool (`agents.functions`) and for structured output (`structured`). A chat template that shows tools prints the schema itself instead.
"""

import json
from collections.abc import Mapping
from typing import Any

DEPTH = 4  # objects within objects that are told


def in_words(schema: Mapping[str, Any], definitions: Mapping[str, Any] | None = None, depth: int = DEPTH) -> str:
    """The values that `schema` allows: 'one of "red", "blue"', 'list of integer', '{"street": string, "zip": integer or null}'.

    definitions: what "$ref" refers to; a schema that is not there, or that lies deeper than `depth`, is told by its name.
    """
    if "$ref" in schema or "allOf" in schema:
        name = schema.get("$ref", schema.get("allOf", [{}])[0].get("$ref", "")).rpartition("/")[2]
        known = (definitions or {}).get(name) if depth > 0 else None
        return name if known is None else in_words(known, definitions, depth - 1)
    if "enum" in schema or "const" in schema:
        return "one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(dict.fromkeys(in_words(one, definitions, depth) for one in schema.get("anyOf", schema.get("oneOf"))))
    kind = schema.get("type", "any value")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array" and "prefixItems" in schema:
        return f"list of exactly ({', '.join(in_words(one, definitions, depth) for one in schema['prefixItems'])})"
    if kind == "array":
        return f"list of {in_words(schema.get('items', {}), definitions, depth)}"
    if kind == "object" and schema.get("properties"):
        inside = [f'"{name}": {in_words(about, definitions, depth)}' for name, about in schema["properties"].items()]
        return "{" + ", ".join(inside) + "}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object, its values {in_words(schema['additionalProperties'], definitions, depth)}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
