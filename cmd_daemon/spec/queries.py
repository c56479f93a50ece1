"""Data queries as text: they are only joined here; the facility's Butler judges them."""

import re


def query_problem(where: str) -> str | None:
    """What is wrong with a data query's brackets and quotes, in words; None if they close.

    The query itself is judged by the facility's Butler; but a query is joined with others by AND,
    and one that closes a bracket it never opened would change the others.
    """
    depth = 0
    for part in re.findall(r"'[^']*'|\"[^\"]*\"|[()'\"]", where):
        if part in ("'", '"'):
            return f"a quote {part} is not closed"
        depth += {"(": 1, ")": -1}.get(part, 0)
        if depth < 0:
            return "a ')' closes nothing"
    return "a '(' is not closed" if depth else None


def joined(*wheres: str | None) -> str:
    """The queries joined by AND, each in brackets when there are several; empty ones left out."""
    given = [w for w in wheres if w]
    return given[0] if len(given) == 1 else " AND ".join(f"({w})" for w in given)
