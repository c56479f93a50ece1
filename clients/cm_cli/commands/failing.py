"""Why things failed, and what error rules would have made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..caller import Caller, pass_caller
from ..names import NameType
from ..options import json_option

if TYPE_CHECKING:
    from cm_client import Name

RULE_LINE = "--rule"
"""What problems of a rule on the command line are told to be in."""


@click.command()
@click.argument("name", type=NameType("campaign", "step"))
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 500),
    help="How many causes, the most frequent first.",
)
@json_option
@pass_caller
def failures(caller: Caller, name: Name, limit: int, as_json: bool) -> None:
    """Show why attempts failed: failures that say the same together.

    Each comes with its last case, the command for its log, and an error rule to start from.
    """
    with caller.connect() as client:
        answer = client.get_failure_causes(name.full, max_causes=limit)
    from ..show.console import console
    from ..show.document import print_message
    from ..show.failing import causes

    if as_json:
        print_message(answer)
    else:
        console().print(causes(answer, name.short))


@click.command(name="rule-test")
@click.argument("name", type=NameType("campaign", "step"))
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="YAML",
    help="A rule as in a campaign file: '{exit: 137, action: retry}'. May be repeated.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="A file with a list of rules.",
)
@click.option("--after-present", is_flag=True, help="Tried after the step's own rules, not before.")
@click.option("--examples", default=3, show_default=True, type=click.IntRange(1, 50))
@json_option
@pass_caller
def rule_test(
    caller: Caller,
    name: Name,
    rules: tuple[str, ...],
    file: str | None,
    after_present: bool,
    examples: int,
    as_json: bool,
) -> None:
    """Try error rules on the failures a campaign or step has had. Changes nothing.

    The first rule that matches wins, together with the rules that the campaign has.
    """
    if bool(rules) == (file is not None):
        raise click.UsageError("give rules with --rule YAML, or a file of them with --file")
    if file is not None:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(errors="replace")
    else:
        text = "\n".join(f"- {_one_line(rule)}" for rule in rules)
    with caller.connect() as client:
        answer = client.test_rules(
            name.full,
            text,
            file=file or RULE_LINE,
            after_present=after_present,
            max_examples=examples,
        )
    from ..show.console import console
    from ..show.document import print_message
    from ..show.failing import trial

    if as_json:
        print_message(answer)
    else:
        console().print(trial(answer, name.short))


def _one_line(rule: str) -> str:
    """A rule as an entry of a list; further lines stay below the first. Raises click.UsageError."""
    if not rule.strip():
        raise click.UsageError("--rule is empty; a rule is such as '{exit: 137, action: retry}'")
    return rule.strip().replace("\n", "\n  ")


COMMANDS = (failures, rule_test)
