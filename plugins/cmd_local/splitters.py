"""The splitters `none`, `values` and `query`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cmd_daemon.hooks import DataShare, DriverError, ErrorClass, Host, SplitRequest
from cmd_local.regions import one_of_each, shares_within
from cmd_local.splitting import (
    DIMENSION,
    MAX_VALUES,
    Value,
    Values,
    grouped,
    literal,
    order_of,
    read_range,
    shares_of,
)

NUMBERS = ("size", "count", "max_quanta")
MAX_DATA_IDS = 2_000_000
REGION = "tract"
"""The dimension of sky regions where the campaign names none."""


def _unknown_keys(params: Mapping[str, Any], known: Sequence[str]) -> list[str]:
    return [
        f"{key}: unknown key; there are {', '.join(known) or 'none'}"
        for key in params
        if key not in known
    ]


def _check_numbers(params: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    problems = []
    for name in names:
        value = params.get(name)
        if name in params and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            problems.append(f"{name}: must be a whole number from 1 on, not {value!r}")
    given = [name for name in names if name in params]
    if len(given) > 1:
        problems.append(f"{given[1]}: cannot be given together with {given[0]}")
    return problems


def _check_dimension(key: str, value: Any) -> list[str]:
    if isinstance(value, str) and DIMENSION.fullmatch(value):
        return []
    return [f"{key}: must be the name of a dimension such as tract or visit, not {value!r}"]


class NoSplitter:
    """The whole step is one group, named `all`."""

    name = "none"
    needs_facility = False

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """No parameters are allowed."""
        return _unknown_keys(params, ())

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """One share."""
        return [DataShare(name="all")]


class ValuesSplitter:
    """Explicit values and ranges: `{by: tract, values: [9813], ranges: ["1..9"], size|count: n}`.

    Values keep the order they are written in, those of `values` first. Without `size` and `count`
    each value is a group.
    """

    name = "values"
    needs_facility = False

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Problems with the parameters, each beginning with its key."""
        problems = _unknown_keys(params, ("by", "values", "ranges", "size", "count"))
        problems += _check_dimension("by", params.get("by"))
        problems += _check_numbers(params, ("size", "count"))
        found: Counter[str] = Counter()
        values = params.get("values", [])
        if not isinstance(values, list | tuple):
            problems.append("values: must be a list")
            values = []
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
                problems.append(f"values: must be whole numbers or texts, not {value!r}")
                continue
            try:
                literal(value)
            except ValueError as error:
                problems.append(f"values: {error}")
            found[str(value)] += 1
        problems += self._check_ranges(params.get("ranges", []), found)
        if not found and not problems:
            problems.append("values: no values are given; name values, ranges, or both")
        twice = [value for value, number in found.items() if number > 1]
        if twice:
            more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
            problems.append(f"values: given more than once: {', '.join(twice[:5])}{more}")
        return problems

    @staticmethod
    def _check_ranges(ranges: Any, found: Counter[str]) -> list[str]:
        if not isinstance(ranges, list | tuple):
            return ["ranges: must be a list of texts such as 1..100"]
        problems = []
        for text in ranges:
            try:
                numbers = read_range(str(text))
            except ValueError as error:
                problems.append(f"ranges: {error}")
                continue
            if len(numbers) > MAX_VALUES:
                problems.append(f"ranges: '{text}' has more than {MAX_VALUES} values")
                continue
            found.update(map(str, numbers))
        return problems

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """The shares; DriverError PERMANENT if the parameters are wrong."""
        params = request.params
        problems = self.check(params)
        if problems:
            raise DriverError(ErrorClass.PERMANENT, f"split: {'; '.join(problems)}")
        values: list[Value] = list(params.get("values", []))
        for text in params.get("ranges", []):
            values += read_range(str(text))
        size, count = params.get("size"), params.get("count")
        groups = grouped([(value,) for value in values], size=size, count=count)
        by_value = count is None and size in (None, 1)
        sizes = [len(members) for members in groups]
        region = request.region or REGION
        return shares_of([params["by"]], groups, sizes, by_value=by_value, region=region)


class QuerySplitter:
    """What the facility's Butler holds: `{by: visit, size|count|max_quanta: n, per, datasets, where,
    within: tract}`.

    `by` is one dimension or a list; each of its values found is in exactly one group, in ascending
    order. `datasets` are types that must exist in the step's input collections for a value to
    count, `where` narrows the step's data query further. `per` names the dimensions of a quantum
    (default: `by`): `max_quanta` limits the data ids of a group counted over them. Without a
    number each value is a group.

    `within` names the dimension of sky regions that earlier steps have placed: the groups are made
    inside each region, as `cmd_local.regions` says, and without a number a region is one group.
    """

    name = "query"
    needs_facility = True

    def check(self, params: Mapping[str, Any]) -> Sequence[str]:
        """Problems with the parameters, each beginning with its key."""
        problems = _unknown_keys(params, ("by", *NUMBERS, "per", "datasets", "where", "within"))
        problems += _check_numbers(params, NUMBERS)
        by = params.get("by")
        for key, names in (("by", by), ("per", params.get("per", by))):
            if isinstance(names, list | tuple):
                if not names:
                    problems.append(f"{key}: names no dimension")
                for name in names:
                    problems += _check_dimension(key, name)
                if len({str(name) for name in names}) < len(names):
                    problems.append(f"{key}: names a dimension more than once")
            elif key == "by" or "per" in params:
                problems += _check_dimension(key, names)
        datasets = params.get("datasets", [])
        if not isinstance(datasets, list | tuple) or not all(
            isinstance(name, str) and name for name in datasets
        ):
            problems.append("datasets: must be a list of dataset types")
        if "within" in params:
            problems += _check_dimension("within", params["within"])
            if params["within"] in _names(by if isinstance(by, list | tuple | str) else []):
                problems.append("within: is the dimension that is shared out")
        if not isinstance(params.get("where", ""), str):
            problems.append("where: must be a text")
        return problems

    async def split(self, request: SplitRequest, host: Host) -> Sequence[DataShare]:
        """The shares, none if the Butler holds nothing that matches. Raises the agent's
        DriverError, PERMANENT if the parameters are wrong."""
        params = request.params
        problems = self.check(params)
        if problems:
            raise DriverError(ErrorClass.PERMANENT, f"split: {'; '.join(problems)}")
        by = _names(params["by"])
        if "within" in params:
            return await self._within(request, by, host)
        found = await self._members(request, by, host)
        members = sorted(found, key=lambda member: [order_of(value) for value in member])
        size, count, limit = (params.get(name) for name in NUMBERS)
        weights = [found[member] for member in members]
        groups = grouped(members, size=size, count=count, weights=weights, max_weight=limit)
        by_value = count is None and limit is None and size in (None, 1)
        sizes = [sum(found[member] for member in group) for group in groups]
        try:
            region = request.region or REGION
            return shares_of(by, groups, sizes, by_value=by_value, region=region)
        except ValueError as error:
            raise DriverError(ErrorClass.PERMANENT, f"step {request.step}: {error}") from error

    async def _within(
        self, request: SplitRequest, by: Sequence[str], host: Host
    ) -> Sequence[DataShare]:
        """The shares of the data that lie on placed regions."""
        params = request.params
        within, counted = params["within"], _names(params.get("per", by))
        names, rows = await self._rows(request, [within, *by, *counted], host)
        extra = [name for name in names if name not in (within, *by, *counted)]
        one_of_each(request.step, extra, [[row[names.index(n)] for n in extra] for row in rows])
        size, count, limit = (params.get(name) for name in NUMBERS)
        try:
            return shares_within(
                step=request.step,
                by=by,
                within=within,
                names=names,
                rows=rows,
                counted=counted,
                regions=request.regions,
                size=size,
                count=count,
                max_quanta=limit,
            )
        except ValueError as error:
            raise DriverError(ErrorClass.PERMANENT, f"step {request.step}: {error}") from error

    async def _members(
        self, request: SplitRequest, by: Sequence[str], host: Host
    ) -> Counter[Values]:
        """The values of `by` that the facility's Butler holds, each with its number of data ids."""
        wanted = [*by, *_names(request.params.get("per", []))]
        names, rows = await self._rows(request, wanted, host)
        places = [names.index(name) for name in by]
        return Counter(tuple(row[place] for place in places) for row in rows)

    async def _rows(
        self, request: SplitRequest, wanted: Sequence[str], host: Host
    ) -> tuple[list[str], list[list[Value]]]:
        """The data ids over the wanted dimensions: the names of all dimensions told, and the rows."""
        params = request.params
        wanted = list(dict.fromkeys(wanted))
        texts = [text for text in (request.where, params.get("where", "")) if text.strip()]
        args: dict[str, Any] = {
            "repo": request.butler,
            "dimensions": wanted,
            "where": " AND ".join(f"({text})" for text in texts),
            "datasets": list(params.get("datasets", [])),
            "collections": list(request.inputs),
            "limit": MAX_DATA_IDS,
        }
        told = await host.agent(request.facility).call("query_data_ids", args)
        try:
            names = list(told["dimensions"])
            rows = [list(row) for row in told["rows"]]
            if lacks := set(wanted) - set(names):
                raise ValueError(f"it tells nothing of {', '.join(sorted(lacks))}")
            if any(len(row) != len(names) for row in rows):
                raise ValueError("a row has not as many values as there are dimensions")
        except (TypeError, KeyError, ValueError) as error:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"the agent of facility {request.facility} gave no answer that can be used: {error}",
            ) from error
        if told.get("complete") is False:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"step {request.step}: the query gives more than {len(rows)} data ids; narrow it",
            )
        return names, rows


def _names(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
