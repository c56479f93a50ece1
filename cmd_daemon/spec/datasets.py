"""Names of dataset types."""

import re

from cmd_daemon.spec.problems import shorten

_DATASET = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)


def dataset_problem(name: str) -> str | None:
    """What is wrong with a dataset type's name, in words; None if it is good."""
    return None if _DATASET.fullmatch(name) else f"'{shorten(name)}' is no dataset type's name"
