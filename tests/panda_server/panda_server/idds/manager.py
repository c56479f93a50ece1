"""The commands of iDDS' client manager that the relay passes on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from panda_server.idds import agents, requests, workflow
from panda_server.idds.requests import Request

if TYPE_CHECKING:
    from panda_server.model.world import World

REGISTERED = {"message": "Command registered successfully", "status": 0}


class Manager:
    """iDDS as one user meets it."""

    def __init__(self, world: "World", user: str) -> None:
        self._world = world
        self._user = user

    @classmethod
    def command(cls, name: str) -> Callable[..., Any] | None:
        """The command of a name."""
        return None if name.startswith("_") or name == "command" else getattr(cls, name, None)

    def ping(self) -> dict[str, str]:
        """Whether it is there."""
        return {"Status": "OK"}

    def submit(
        self,
        workflow_text: str,
        username: str | None = None,
        userdn: str | None = None,
        use_dataset_name: bool = False,
    ) -> int:
        """A new request: its number."""
        del username, userdn, use_dataset_name
        return requests.submit(self._world, workflow.parse(workflow_text), self._user)

    def get_requests(
        self,
        request_id: Any = None,
        workload_id: Any = None,
        with_detail: bool = False,
        with_metadata: bool = False,
    ) -> list[dict[str, Any]]:
        """Requests, or their transforms with the request's fields; of nobody's in particular."""
        del with_metadata
        found = self._found(request_id, workload_id)
        if with_detail:
            return [row for request in found for row in requests.joined(self._world, request)]
        return [requests.record(request) for request in found]

    def get_request_id_by_name(self, name: str) -> dict[str, int]:
        """The last request of a name."""
        return {r.name: r.id for r in self._world.requests.values() if r.name == name}

    def get_status(
        self,
        request_id: Any = None,
        workload_id: Any = None,
        with_detail: bool = False,
        with_metadata: bool = False,
    ) -> str:
        """A table for people."""
        del with_detail, with_metadata
        heads = ["request_id", "request_workload_id", "scope:name", "status", "errors"]
        rows = [
            [str(r.id), "", f"workflow:{r.name}", r.status, ""]
            for r in self._found(request_id, workload_id)
        ]
        wide = [
            max([len(head) + 2, *(len(row[at]) for row in rows)]) for at, head in enumerate(heads)
        ]
        lines = [heads, ["-" * width for width in wide], *rows]
        told = []
        for line in lines:
            first = line[0].rjust(wide[0])
            rest = [text.ljust(width) for text, width in zip(line[1:], wide[1:], strict=True)]
            told.append("  ".join([first, *rest]).rstrip())
        return "\n".join(told)

    def abort(self, request_id: Any = None, workload_id: Any = None) -> Any:
        """Cancel."""
        return self._register("abort", request_id, workload_id)

    def retry(self, request_id: Any = None, workload_id: Any = None) -> Any:
        """Try what failed again."""
        return self._register("retry", request_id, workload_id)

    def suspend(self, request_id: Any = None, workload_id: Any = None) -> Any:
        """Hold."""
        return self._register("suspend", request_id, workload_id)

    def resume(self, request_id: Any = None, workload_id: Any = None) -> Any:
        """Go on."""
        return self._register("resume", request_id, workload_id)

    def finish(self, request_id: Any = None, workload_id: Any = None) -> Any:
        """End with what is there."""
        return self._register("finish", request_id, workload_id)

    def get_contents_output_ext(
        self,
        request_id: Any = None,
        workload_id: Any = None,
        transform_id: Any = None,
        group_by_jedi_task_id: bool = False,
    ) -> dict[str, list[dict[str, Any]]]:
        """What became of each output: PanDA's job, its state and its exit code, by work."""
        del group_by_jedi_task_id
        return agents.contents(
            self._world, self._found(request_id, None), workload_id, transform_id
        )

    def _found(self, request_id: Any, workload_id: Any) -> list[Request]:
        if workload_id is not None:
            number = int(workload_id)
            return [
                request
                for request in self._world.requests.values()
                if any(self._world.transforms[t].task == number for t in request.transforms)
            ]
        if request_id is None:
            return list(self._world.requests.values())
        found = self._world.requests.get(int(request_id))
        return [found] if found else []

    def _register(self, verb: str, request_id: Any, workload_id: Any) -> list[Any]:
        found = self._found(request_id, workload_id)
        if not found:
            return [[-1, {"message": "No match requests", "status": -1}]]
        answers: list[Any] = []
        for request in found:
            if request.owner != self._user:
                text = f"User {self._user} has no permission to update request {request.id}"
                answers.append([-1, {"message": text, "status": -1}])
            else:
                agents.register(self._world, request, verb)
                answers.append([0, REGISTERED])
        return answers
