"""From a document to the model: each error of the model becomes a problem in words, at its place."""

import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cmd_daemon.spec.model import TEXT_ERROR
from cmd_daemon.spec.problems import Path, nearest
from cmd_daemon.spec.reading import MAX_PROBLEMS, Document, kind_of

M = TypeVar("M", bound=BaseModel)

_STAND_INS: frozenset[Path] = frozenset({("campaign",), ("owner",), ("stack",)})
"""Keys that get a stand-in when they are wrong, so that the rest can be checked."""


def shaped(document: Document, model: type[M]) -> M | None:
    """The document as this model, what does not have the shape noted as problems and left out, so that
    the rest can be checked; None if too little remains.

    A number where text is wanted is taken as it was written.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        first = error
    changed = False
    for detail in first.errors(include_url=False, include_input=False):
        path = detail["loc"]
        if detail["type"] == TEXT_ERROR and path in document.texts:
            changed |= _replace(document.data, path, document.texts[path])
    try:
        if changed:
            return model.model_validate(document.data)
    except ValidationError as error:
        first = error
    details = first.errors(include_url=False)
    for detail in details[:MAX_PROBLEMS]:
        _note(document, detail, model)
    for detail in details:
        _leave_out(document, detail)
    try:
        return model.model_validate(document.data)
    except ValidationError:
        return None


def _leave_out(document: Document, detail: ErrorDetails) -> None:
    """Take what an error is about out of the data, up to the last key before any list position."""
    path: Path = detail["loc"]
    if detail["type"] == "missing":
        if path in _STAND_INS:
            document.data[path[0]] = "unknown"
            document.unknown.add(path)
        return
    positions = [i for i, part in enumerate(path) if isinstance(part, int)]
    path = path[: positions[0]] if positions else path
    document.unknown.update((path, path[:-1]))
    data = document.data
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, dict) else None
    if isinstance(data, dict):
        data.pop(path[-1], None)
    if path in _STAND_INS:
        document.data[path[0]] = "unknown"


def _replace(data: Any, path: Path, text: str) -> bool:
    """Put `text` at `path` of the data; False if the path is not there (an alias, a split value)."""
    for part in path[:-1]:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    try:
        data[path[-1]] = text
    except (IndexError, TypeError):
        return False
    return True


def _note(document: Document, detail: ErrorDetails, model: type[BaseModel]) -> None:
    path: Path = detail["loc"]
    context = detail.get("ctx") or {}
    value = detail.get("input")
    match detail["type"]:
        case "missing":
            document.add(path, "this key is required", of_key=True)
        case "extra_forbidden":
            name = str(path[-1])
            keys = _keys_at(path[:-1], model)
            document.add(
                path, "unknown key", document.nearest(name, keys, "keys here"), of_key=True
            )
        case "model_type" | "model_attributes_type" | "dict_type":
            document.add(path, f"must be a mapping of keys, not {kind_of(value)}")
        case "list_type":
            hint = "write [ ] around it" if isinstance(value, str | int | float) else ""
            document.add(path, f"must be a list, not {kind_of(value)}", hint)
        case "too_short":
            document.add(path, "must not be empty")
        case "too_long":
            document.add(path, f"has more than {context.get('max_length')} entries")
        case "enum":
            valid = (
                str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
            )
            given = value if isinstance(value, str) else ""
            document.add(
                path,
                f"must be one of {', '.join(valid)}, not {kind_of(value)}",
                _only_close(given, valid),
            )
        case "greater_than_equal":
            document.add(path, f"must be at least {context['ge']:g}, not {value}")
        case "less_than_equal":
            document.add(path, f"must be at most {context['le']:g}, not {value}")
        case _:
            document.add(path, detail["msg"], str(context.get("hint", "")))


def _only_close(given: str, valid: list[str]) -> str:
    hint = nearest(given, valid)
    return hint if hint.startswith("did you mean") else ""


def _keys_at(path: Path, model: type[BaseModel]) -> list[str]:
    """The keys the model has at `path`."""
    kind: Any = model
    for part in path:
        kind = _bare(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field is not None else None
        elif get_origin(kind) in (dict, list, Mapping):
            kind = get_args(kind)[-1]
    kind = _bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return []


def _bare(kind: Any) -> Any:
    """The type without Annotated and None."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif get_origin(kind) in (Union, types.UnionType):
            kind = next(a for a in get_args(kind) if a is not type(None))
        else:
            return kind
