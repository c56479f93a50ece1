"""Faults that can be asked of the calibrate task, to show and test what a campaign does about them."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import lsst.pex.config as pex_config


class FaultConfig(pex_config.Config):
    """Which quanta fail, how often, and how long each takes; all off by default."""

    failDataIds = pex_config.Field(
        dtype=str,
        default="",
        doc="Quanta that fail, as VISIT:DETECTOR separated by semicolons; * stands for any "
        "(for example 1003:2;1005:*).",
    )
    failMessage = pex_config.Field(
        dtype=str,
        default="Too few stars for photometry: found 3, at least 10 needed "
        "(visit {visit}, detector {detector})",
        doc="Message of the failure; {visit} and {detector} are filled in.",
    )
    failOnceDir = pex_config.Field(
        dtype=str,
        default="",
        doc="If set, each quantum of failDataIds fails only the first time; "
        "the directory remembers which did.",
    )
    sleepSeconds = pex_config.Field(
        dtype=float, default=0.0, doc="Time that each quantum waits before its work."
    )


class DemoFault(RuntimeError):
    """A failure that was asked for by configuration."""


def apply_faults(config: FaultConfig, data_id: Mapping[str, int]) -> None:
    """Wait and fail as configured for this visit and detector.

    Raises
    ------
    DemoFault
        If this quantum was told to fail.
    """
    if config.sleepSeconds > 0:
        time.sleep(config.sleepSeconds)
    visit, detector = data_id["visit"], data_id["detector"]
    if not any(_matches(pattern, visit, detector) for pattern in config.failDataIds.split(";")):
        return
    if config.failOnceDir:
        marker = Path(os.path.expandvars(config.failOnceDir)) / f"{visit}_{detector}"
        marker.parent.mkdir(parents=True, exist_ok=True)
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return
    raise DemoFault(config.failMessage.format(visit=visit, detector=detector))


def _matches(pattern: str, visit: int, detector: int) -> bool:
    first, _, second = pattern.strip().partition(":")
    return bool(first) and first in ("*", str(visit)) and (second or "*") in ("*", str(detector))
