"""Amounts as people type them on the command line: memory, durations, NAME=NUMBER."""

from __future__ import annotations

import re
from typing import Any

import click

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")
_BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_BYTES |= {"KIB": 1024, "MIB": 1024**2, "GIB": 1024**3, "TIB": 1024**4}
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86_400}


class MemoryType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """8GB, 500 MB or 4 GiB, as bytes."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click.BadParameter for anything else."""
        if isinstance(value, int):
            return value
        match = _AMOUNT.fullmatch(str(value).strip())
        if match is None or match[2].upper() not in _BYTES or not float(match[1]):
            self.fail(f"{value!r} is no amount of memory: write 500MB, 8GB or 4GiB", param, ctx)
        return round(float(match[1]) * _BYTES[match[2].upper()])


class DurationType(click.ParamType):  # type: ignore[type-arg]
    """90s, 5min, 2h or 1d, as seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Raises click.BadParameter for anything else."""
        if isinstance(value, int | float):
            return float(value)
        match = _AMOUNT.fullmatch(str(value).strip())
        if match is None or match[2] not in _SECONDS or not float(match[1]):
            self.fail(f"{value!r} is no duration: write 90s, 5min, 2h or 1d", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


def numbers_by_name(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, int]:
    """A callback: NAME=NUMBER, several times, as a dict. Raises click.BadParameter."""
    chosen: dict[str, int] = {}
    for value in values:
        name, _, number = value.partition("=")
        if not (name and number.isdecimal()):
            raise click.BadParameter(f"{value!r} is not NAME=NUMBER", ctx, param)
        if name in chosen:
            raise click.BadParameter(f"{name} is given twice", ctx, param)
        chosen[name] = int(number)
    return chosen


def texts_by_name(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """A callback: NAME=VALUE, several times, as a dict. Raises click.BadParameter."""
    chosen: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", ctx, param)
        if name in chosen:
            raise click.BadParameter(f"{name} is given twice", ctx, param)
        chosen[name] = text
    return chosen
