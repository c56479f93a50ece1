"""The JSON Schema of the campaign file, for editors."""

from typing import Any

from cmd_daemon.spec.model import CampaignFile

SCHEMA_ID = "urn:cmd-daemon:campaign-file:v1"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a campaign file, with a description for every key.

    It knows the keys and types; what only this daemon knows (names of facilities, splitters, ...) is
    checked by `read_campaign`. A `${NAME}` may stand where the schema wants a number.
    """
    schema = CampaignFile.model_json_schema()
    _without_null(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **schema,
    }


def _without_null(node: Any) -> None:
    """Drop the generated titles, defaults of null and null alternatives: editors would offer them."""
    if isinstance(node, list):
        for item in node:
            _without_null(item)
        return
    if not isinstance(node, dict):
        return
    if isinstance(node.get("title"), str):
        del node["title"]
    if node.get("default", ...) is None:
        del node["default"]
    if node.get("type") == "string" and not isinstance(node.get("default", ""), str):
        del node["default"]  # seconds or bytes, which the file does not write as a number
    choices = node.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [c for c in choices if c != {"type": "null"}]
        if len(rest) == 1:
            del node["anyOf"]
            for name, value in rest[0].items():
                node.setdefault(name, value)
    for value in node.values():
        _without_null(value)
