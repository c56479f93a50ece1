"""What a call is: its verb, who may make it, its arguments and their types, and the envelope."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin

from panda_server.web.identity import Caller

if TYPE_CHECKING:
    from panda_server.model.world import World

NO_TOKEN = "SSL secure connection is required"
NO_ROLE = "production or pilot role required"
NOT_OWNER = "not the task owner or no production role"
NO_TASK_ID = "jediTaskID must be an integer"


@dataclass
class Context:
    """What a call works with."""

    world: "World"
    caller: Caller | None
    verb: str

    @property
    def user(self) -> str:
        """The caller's name; calls that ask for it let nobody in without one."""
        assert self.caller is not None
        return self.caller.name

    @property
    def production(self) -> bool:
        """Whether the caller has the production role."""
        return self.caller is not None and self.caller.production


Answer = dict[str, Any]


def answer(success: bool, message: str = "", data: Any = None) -> Answer:
    """The envelope around every answer of `/api/v1`."""
    return {"success": success, "message": message, "data": data}


def ok(data: Any = None, message: str = "") -> Answer:
    """An answer that says yes."""
    return answer(True, message, data)


def no(message: str, data: Any = None) -> Answer:
    """An answer that says no, with status 200."""
    return answer(False, message, data)


@dataclass(frozen=True)
class Call:
    """A method of the API and what is asked before it runs."""

    function: Callable[..., Any]
    verb: str | None
    secure: bool
    production: bool
    owner: bool

    def __call__(self, context: Context, arguments: dict[str, Any]) -> Any:
        """Refuse, or run: first the token, the role, the verb, then arguments, then the owner."""
        if self.secure and context.caller is None:
            return no(NO_TOKEN)
        if self.production and not context.production:
            return no(NO_ROLE)
        if self.verb and self.verb != context.verb:
            return no(f"expecting {self.verb}, received {context.verb}")
        signature = inspect.signature(self.function)
        try:
            bound = signature.bind(context, **arguments)
        except TypeError as problem:
            return no(f"Argument error: {problem}")
        for name, value in list(bound.arguments.items())[1:]:
            parameter = signature.parameters[name]
            try:
                bound.arguments[name] = typed(name, value, parameter, context.verb)
            except TypeError as problem:
                return no(f"Type error: {problem}")
        if self.owner and not _owns(context, bound.arguments.get("task_id")):
            return no(NOT_OWNER)
        return self.function(*bound.args, **bound.kwargs)


def _owns(context: Context, number: Any) -> bool:
    task = context.world.tasks.get(number)
    seen = task is not None and task.visible
    return context.production or (seen and task is not None and task.owner == context.user)


def typed(name: str, value: Any, parameter: inspect.Parameter, verb: str) -> Any:
    """The value in the parameter's type: cast from a query's text, demanded of a body."""
    kind = parameter.annotation
    if kind is inspect.Parameter.empty or value == parameter.default:
        return value
    if get_origin(kind) is UnionType:
        kind = get_args(kind)[0]
    origin, inner = get_origin(kind), get_args(kind)
    if verb == "GET":
        value = _cast(name, value, kind, inner, parameter.default)
    plain = origin or kind
    if not isinstance(value, plain) and not (value is None and parameter.default is None):
        raise TypeError(f"'{name}' must be of type {plain.__name__}, got {type(value).__name__}.")
    if plain is list and inner and not all(isinstance(item, inner[0]) for item in value):
        raise TypeError(f"All elements in '{name}' must be {inner[0].__name__}.")
    return value


def _cast(name: str, value: Any, kind: Any, inner: tuple[Any, ...], default: Any) -> Any:
    if value == "None" and default is None:
        return None
    try:
        if kind is bool:
            return value.lower() in ("true", "1")
        if kind is int:
            return int(float(value))
        if get_origin(kind) is list:
            items = [value] if isinstance(value, str) else value
            return [int(float(item)) if inner[0] is int else item for item in items]
    except (ValueError, TypeError) as problem:
        raise TypeError(
            f"'{name}' with value '{value}' could not be casted to type "
            f"{kind.__name__} from {type(value).__name__}."
        ) from problem
    return value


CALLS: dict[str, Call] = {}


def call(
    path: str,
    verb: str | None,
    *,
    secure: bool = True,
    production: bool = False,
    owner: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a method of the API at `<module>/<method>`."""

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        CALLS[path] = Call(function, verb, secure, production, owner)
        return function

    return declare
