"""What every operation of the agent stands on: its arguments, the repositories, its errors.

A part of the agent's program: it is shipped in the same directory as `butler_agent.py`.
"""

import logging
import re
from typing import Any

LINE_MAX_BYTES = 64 * 1024 * 1024
"""A longer request line is refused; a longer answer is an error that asks for smaller pages."""

PAGE_MAX = 100_000
"""Most data ids or datasets in one answer unless the request says otherwise."""

MESSAGE_MAX = 4000
"""Characters of an error message that are sent."""

OF_THE_SKY = re.compile(r"\b(skymap|tract|patch|htm\d+|healpix\d+)\b")


class RequestError(Exception):
    """A request that is wrong or cannot be met; `error_class` says what the caller should make of
    it.
    """

    def __init__(self, message: str, error_class: str = "Permanent") -> None:
        super().__init__(message)
        self.error_class = error_class


class Arguments:
    """The arguments of one request, checked as they are taken."""

    def __init__(self, operation: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise RequestError(f"{operation}: args must be an object")
        self._operation = operation
        self._values = dict(values)

    def text(self, name: str, default: str | None = None) -> str:
        """Take a string; required if there is no default."""
        value = self._take(name, default)
        if not isinstance(value, str):
            raise RequestError(f"{self._operation}: {name} must be a string")
        return value

    def strings(self, name: str, default: list[str] | None = None) -> list[str]:
        """Take a list of strings; required if there is no default."""
        value = self._take(name, default)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RequestError(f"{self._operation}: {name} must be a list of strings")
        return value

    def optional_strings(self, name: str) -> list[str] | None:
        """Take a list of strings, or None if it is null or not given."""
        if self._values.get(name) is None:
            self._values.pop(name, None)
            return None
        return self.strings(name)

    def number(self, name: str, default: int | None) -> int | None:
        """Take a whole number from 0 up, or the default if it is null or not given."""
        value = self._values.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise RequestError(f"{self._operation}: {name} must be a whole number from 0 up")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Take true or false."""
        value = self._values.pop(name, default)
        if not isinstance(value, bool):
            raise RequestError(f"{self._operation}: {name} must be true or false")
        return value

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Take a list of objects."""
        value = self._take(name, None)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise RequestError(f"{self._operation}: {name} must be a list of objects")
        return value

    def finish(self) -> None:
        """Refuse what nobody took: a misspelt argument must not be passed over in silence."""
        if self._values:
            raise RequestError(
                f"{self._operation}: unknown arguments {', '.join(sorted(map(str, self._values)))}"
            )

    def _take(self, name: str, default: Any) -> Any:
        value = self._values.pop(name, default)
        if value is None:
            raise RequestError(f"{self._operation}: {name} is missing")
        return value


class Repositories:
    """The Butler repositories by label; each is opened when first asked for and then kept."""

    def __init__(self, paths: dict[str, str]) -> None:
        self._paths = paths
        self._open: dict[tuple[str, bool], Any] = {}

    @property
    def labels(self) -> list[str]:
        return sorted(self._paths)

    def get(self, label: str, *, writeable: bool = False) -> Any:
        """Return the Butler of a repository, aware of what other processes registered since the
        last request.

        Raises
        ------
        RequestError
            If the label is not known or the repository cannot be opened.
        """
        if label not in self._paths:
            raise RequestError(
                f"no repository is called {label!r} here; known: {', '.join(self.labels) or 'none'}"
            )
        key = (label, writeable)
        if key not in self._open:
            from lsst.daf.butler import Butler

            try:
                self._open[key] = Butler.from_config(self._paths[label], writeable=writeable)
            except FileNotFoundError as error:
                raise RequestError(
                    f"repository {label!r} is not at {self._paths[label]}: {error}"
                ) from error
        else:
            self._open[key].registry.refresh()
        return self._open[key]

    def forget(self, label: str) -> None:
        """Close a repository; the next request opens it anew (after an error that may have broken
        its connection).
        """
        for writeable in (False, True):
            butler = self._open.pop((label, writeable), None)
            if butler is not None:
                try:
                    butler.close()
                except Exception:
                    logging.exception("closing repository %s", label)


def restricted(query: Any, where: str, dimensions: Any) -> Any:
    """Return a query for datasets with these dimensions that a data query narrows.

    An exposure has no place on the sky but that of its visit: without the visit, a query for the raws
    of a tract would find those of the whole sky.
    """
    if where:
        query = query.where(where)
    if OF_THE_SKY.search(where) and "exposure" in dimensions and "visit" not in dimensions:
        query = query.join_dimensions(["visit"])
    return query


def describe_error(error: BaseException) -> dict[str, str]:
    """Return the error part of an answer."""
    message = str(error).strip() or type(error).__name__
    # KeyErrors quote their message; people should not see that.
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        message = error.args[0]
    if len(message) > MESSAGE_MAX:
        message = message[:MESSAGE_MAX] + "..."
    return {"class": classify(error), "type": type(error).__name__, "message": message}


def classify(error: BaseException) -> str:
    """Return the class of an error, see the text of `butler_agent`."""
    if isinstance(error, RequestError):
        return error.error_class
    from lsst.daf.butler import ButlerUserError
    from lsst.daf.butler.registry import RegistryError
    from sqlalchemy.exc import DBAPIError, OperationalError

    if isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return "Transient"
    if isinstance(error, ButlerUserError | RegistryError | PermissionError | FileNotFoundError):
        return "Permanent"
    if isinstance(error, OSError):
        return "Transient"
    return "Unknown"
