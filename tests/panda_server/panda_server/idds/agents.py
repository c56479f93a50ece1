"""The agents of iDDS: they make tasks of works, release jobs, and count what came out."""

from typing import TYPE_CHECKING, Any

from panda_server.idds.requests import Request

if TYPE_CHECKING:
    from panda_server.model.world import World


def register(world: "World", request: Request, verb: str) -> None:
    """Take a command; without agents it stays a command."""
    request.commands.append(verb)
    world.touch(request)


def work(world: "World", request: Request) -> None:
    """What the agents do with a request when its time has come."""
    del world, request


def contents(
    world: "World", found: list[Request], workload_id: Any, transform_id: Any
) -> dict[str, list[dict[str, Any]]]:
    """Outputs with the job behind each."""
    del world, found, workload_id, transform_id
    return {}
