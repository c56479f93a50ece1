"""The JSON Schema and the reference page say what the code takes."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from spec_cases import ROOT, read

from cmd_daemon.spec import json_schema
from cmd_daemon.spec.model import CampaignFile

PAGE = (ROOT / "docs" / "campaign-file.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def models(kind: Any = CampaignFile) -> Iterator[type[BaseModel]]:
    """The file's model and all models inside it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation)
    for inner in get_args(kind):
        yield from models(inner)


@pytest.mark.parametrize("model", dict.fromkeys(models()), ids=lambda m: m.__name__)
def test_every_key_is_on_the_page_and_described(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert f"`{name}`" in PAGE, f"{model.__name__}.{name} is not on the page"
        assert field.description, f"{model.__name__}.{name} has no description"


def test_every_key_in_the_pages_tables_exists() -> None:
    names = {n for m in models() for n in m.model_fields}
    rows = re.findall(r"^\|(?: `\w+`(?:, `\w+`)* \|| \|)? ?`(\w+)` \|", PAGE, re.MULTILINE)
    assert len(rows) > 50
    assert set(rows) <= names | {"before-1", "process", "purge"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.split("\n")[0])
def test_every_example_on_the_page_is_a_good_campaign(block: str) -> None:
    given = {"WEEK": "46"} if "WEEK" in block else {}
    assert read(block, **given).warnings == ()
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(block))


def test_the_schema_is_one() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema
    for definition in [schema, *schema["$defs"].values()]:
        for name, field in definition.get("properties", {}).items():
            assert field.get("description"), name
            assert "title" not in field


def test_the_schema_complains_of_unknown_keys_and_wrong_types() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    document = yaml.safe_load(BLOCKS[0])
    document["steps"]["single-visit"]["retries"] = 1
    document["facilities"] = "USDF"
    messages = " ".join(e.message for e in validator.iter_errors(document))
    assert "'retries' was unexpected" in messages
    assert "'USDF' is not of type 'array'" in messages
