"""Units, names and regular expressions: small languages inside the file."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmd_daemon.spec import (
    duration_text,
    group_chain,
    key,
    memory_text,
    name_problem,
    output_run,
    parse_duration,
    parse_key,
    parse_memory,
    step_chain,
)
from cmd_daemon.spec.naming import KeyParts, collection_problem
from cmd_daemon.spec.patterns import pattern_problem
from cmd_daemon.spec.queries import joined, query_problem


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90 s", 90), ("5 min", 300), ("5min", 300), ("2 h", 7200), ("1 d", 86400), ("1.5 h", 5400),
     ("1 h 30 min", 5400), (" 2 hours ", 7200), ("10 seconds", 10)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "min", "5 m", "-5 s", "0 s", "400 d", "5 min x", "1e9 s"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("32 GB", 32 * 10**9), ("4 GiB", 4 * 2**30), ("500MB", 5 * 10**8), ("1.5 kB", 1500),
     ("1 KiB", 1024), ("7 B", 7)],
)  # fmt: skip
def test_memory(text: str, amount: int) -> None:
    assert parse_memory(text) == amount


@pytest.mark.parametrize(
    "text", ["", "4", "GB", "4 gb", "4 G", "-4 GB", "0 GB", "9999 PB", "4 GB 2"]
)
def test_no_memory(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_memory(text)


@settings(deadline=None)
@given(st.integers(1, 366 * 86400))
def test_durations_there_and_back(seconds: int) -> None:
    text = duration_text(seconds)
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-5)


@settings(deadline=None)
@given(st.integers(1, 10**15))
def test_memory_there_and_back(amount: int) -> None:
    assert parse_memory(memory_text(amount)) == pytest.approx(amount)


_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,50}", fullmatch=True)


@settings(deadline=None)
@given(_NAMES, _NAMES, _NAMES, _NAMES, st.integers(1, 10**6))
def test_keys_there_and_back(campaign: str, step: str, group: str, job: str, attempt: int) -> None:
    text = key(campaign, step, group, job, attempt)
    assert text == f"{campaign}/{step}/{group}/{job}#{attempt}"
    assert parse_key(text) == KeyParts(campaign, step, group, job, attempt)


@pytest.mark.parametrize(
    "text", ["", "a", "a/b/c/d", "a/b/c/d#0", "a/b/c/d#x", "a/b/c#1", "a/b/c/d/e#1", "a/../c/d#1",
             "a/b/c/d#1\n", "a//c/d#1"],
)  # fmt: skip
def test_no_keys(text: str) -> None:
    with pytest.raises(ValueError, match="not the key of an attempt"):
        parse_key(text)


def test_collections() -> None:
    assert step_chain("u/p/toy", "coadd") == "u/p/toy/coadd"
    assert group_chain("u/p/toy", "coadd", "9813") == "u/p/toy/coadd/9813"
    assert output_run("u/p/toy", "coadd", "9813", 2) == "u/p/toy/coadd/9813/a2"
    assert collection_problem("HSC/runs/RC2/w_2026_46/DM-54321") is None
    for bad in ("", "/a", "a/", "a//b", "a b", "a\n", "x" * 201):
        assert collection_problem(bad)


@pytest.mark.parametrize(("name", "good"), [("a", True), ("DRP-RC2.w_46", True), ("0", True),
                                            ("", False), (".a", False), ("a/b", False), ("é", False),
                                            ("a\n", False), ("a" * 65, False)])  # fmt: skip
def test_names(name: str, good: bool) -> None:
    assert (name_problem(name, 64) is None) is good


@pytest.mark.parametrize(
    "pattern",
    ["No flat .* found", r"exit (\d+)", "a|b|c", r"(?:foo|bar)\s+\w+", r"^Timeout after \d+ s$",
     r"(ab?c)+", r"\[Errno \d+\] .*: '.*'", r"(?:a|b)+c", r"[a-z]{1,3}"],
)  # fmt: skip
def test_good_patterns(pattern: str) -> None:
    assert pattern_problem(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "missing ), unterminated subpattern at character 1"),
        ("*a", "nothing to repeat at character 1"),
        ("(a+)+b", "a repeat inside a repeat"),
        ("((a*)b)*", "a repeat inside a repeat"),
        ("(a|aa)+b", "repeats a choice"),
        ("(.|a)*b", "repeats a choice"),
        ("(a?){30}a{30}", "may be empty"),
        (".*.*x", "two repeats side by side"),
        ("(?=(a+)+)b", "a repeat inside a repeat"),
        ("(a{1,50}){20,}", "a repeat inside a repeat"),
        ("a.*b.*c.*d.*e.*f.*g.*h.*i.*", "more than 8 repeats"),
        ("a" * 501, "501 characters"),
        ("(" * 450 + ")" * 450, "900 characters"),
        ("a{1,99999999999}", "too large"),
    ],
)
def test_bad_patterns(pattern: str, words: str) -> None:
    assert words in str(pattern_problem(pattern))


@settings(deadline=None)
@given(st.text(alphabet="ab|()*+?.{}12,[]^$\\", max_size=25))
def test_patterns_that_are_taken_are_quick(pattern: str) -> None:
    if pattern_problem(pattern) is None:
        re.search(pattern, "ab" * 20 + "!")  # hangs if it is one of those that take for ever


@pytest.mark.parametrize(
    ("where", "words"),
    [("tract = 1", None), ("(a = 1 OR b = ')')", None), ("a = 1) OR (b = 2", "a ')' closes nothing"),
     ("(a = 1", "a '(' is not closed"), ("band = 'r", "a quote ' is not closed")],
)  # fmt: skip
def test_queries(where: str, words: str | None) -> None:
    assert query_problem(where) == words


def test_joined() -> None:
    assert joined("", None) == ""
    assert joined("a = 1", "") == "a = 1"
    assert joined("a = 1 OR b = 2", "", "c = 3") == "(a = 1 OR b = 2) AND (c = 3)"
