"""Job descriptions for A-REX, in its extended resource specification language (xRSL)."""

import shlex
from collections.abc import Sequence

from cmd_daemon.hooks import JobOrder
from cmd_housekeeping.payload import Payload
from cmd_local.orders import BadOrder

WRAPPER = "run.sh"
SCRIPT = "script"
LOG = "log.txt"
ENDING = "exit.json"


def quoted(text: str) -> str:
    """A string of xRSL: in double quotes, which are doubled inside. Raises BadOrder for control
    characters, which the language cannot carry."""
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise BadOrder(f"{text!r} holds a control character, which no job description can carry")
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def wrapper(order: JobOrder, payload: Payload, grace_s: float) -> str:
    """The program that A-REX runs: sets the environment, holds the script to its time, and writes
    how it ended to `exit.json`; its own exit code is the script's."""
    lines = ["#!/bin/sh", f"# Attempt {shlex.quote(order.key)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in payload.env.items()]
    if payload.text is not None:
        lines.append(f"chmod 700 {SCRIPT}")
        argv = [*payload.interpreter, f"./{SCRIPT}", *payload.args]
        command = shlex.join(argv)
    else:
        file = shlex.quote(payload.file)
        lines.append(f"if [ -x {file} ]; then set --; else set -- /bin/sh; fi")
        command = f'"$@" {shlex.join([payload.file, *payload.args])}'
    seconds = max(1, round(order.walltime_s))
    limit = f"timeout -k {max(1, round(grace_s))} {seconds}"
    return "\n".join(
        [
            *lines,
            "began=$(date +%s)",
            f"limit='{limit}'",
            "command -v timeout >/dev/null 2>&1 || limit=",
            f"$limit {command}",
            "code=$?",
            "killed=null",
            # timeout answers 124, or 137 where it had to kill
            f'if [ -n "$limit" ] && [ $(($(date +%s) - began)) -ge {seconds} ]; then',
            "case $code in 124|137) killed='\"time\"' ;; esac; fi",
            'printf \'{"exit_code": %d, "killed_for": %s, "started_at": %s000000, '
            '"finished_at": %s000000}\\n\' "$code" "$killed" "$began" "$(date +%s)"'
            f" > {ENDING}",
            "exit $code",
            "",
        ]
    )


def description(order: JobOrder, payload: Payload, queue: str, environments: Sequence[str]) -> str:
    """One attempt's job description. Its name is the key: by it the attempt is found again.

    A file that is not listed as an output is deleted at the end, the log too. Time in whole
    seconds, memory in MB per core.
    """
    inputs = [WRAPPER] + ([SCRIPT] if payload.text is not None else [])
    fields = [
        f"(executable={quoted(WRAPPER)})",
        f"(jobname={quoted(order.key)})",
        "(inputfiles=" + "".join(f'({quoted(name)} "")' for name in inputs) + ")",
        "(outputfiles=" + "".join(f'({quoted(name)} "")' for name in (LOG, ENDING)) + ")",
        f"(stdout={quoted(LOG)})",
        '(join="yes")',
        f'(walltime="{max(60, round(order.walltime_s + 60))} seconds")',
        f'(memory="{max(1, order.memory // order.cores // 1_000_000)}")',
        f'(count="{order.cores}")',
    ]
    if queue:
        fields.append(f"(queue={quoted(queue)})")
    fields += [f"(runtimeenvironment={quoted(name)})" for name in environments]
    return "&" + "".join(fields)
