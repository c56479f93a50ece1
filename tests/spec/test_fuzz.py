"""Whatever the bytes are: a plan or problems, never another exception."""

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from spec_cases import FULL, HEAD, ROOT, SMALL

from cmd_daemon.spec import CampaignFileError, read_campaign

RC2 = (ROOT / "examples" / "rc2.yaml").read_text()
PIECES = [
    "${WEEK}", "${", "null", "[]", "{}", "- ", ": ", "\n", "  ", "&a ", "*a", "!!int ", "'", '"', "|\n",
    "1e999", "-1", "[[[[", "<<: ", "true", "\t", "\x07", "\x00", "é", "\ufeff", "---\n", "...\n", "#", "? ",
    "steps:", "(a+)+", "5 min", "999999999999999999999", "{a: [1, {b: 2}]}", "%YAML 1.1\n", "@", "`",
]  # fmt: skip


def judged(text: str | bytes, **parameters: str) -> None:
    """Read `text` for two daemons; fail for any other end than a plan or good problems."""
    for known in (FULL, SMALL):
        try:
            plan = read_campaign(text, file="f", parameters=parameters, known=known)
        except CampaignFileError as error:
            problems = error.problems
        else:
            assert plan.digest
            continue
        assert problems
        for problem in problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert problem.message
            assert "\n" not in str(problem)
            assert len(str(problem)) < 2000


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes(raw: bytes) -> None:
    judged(raw)


@settings(deadline=None)
@given(
    st.text(max_size=300), st.dictionaries(st.text(max_size=5), st.text(max_size=30), max_size=3)
)
def test_random_text(text: str, parameters: dict[str, str]) -> None:
    judged(text, **parameters)
    judged(HEAD + text, **parameters)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
@example(0, 1)
def test_mutated_documents(seed: int, times: int) -> None:
    chance = random.Random(seed)
    text = RC2
    for _ in range(times):
        at = chance.randrange(len(text))
        end = min(len(text), at + chance.choice((0, 0, 1, 3, 20, 200)))
        text = text[:at] + chance.choice(PIECES) + text[end:]
    judged(text, WEEK="46")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "USDF", "5 min", "4 GB", "tract", "${N}", "a: b"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["a", "by", "values", "size", "attempts", "memory", "max", "script", "args",
                         "datasets", "at", "action", "message", "exit", "rse", "splitter"]),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip
_KEYS = st.sampled_from(
    ["after", "pipeline", "split", "at", "gather", "scatter", "resources", "retry", "accept", "errors",
     "breakpoint", "optional", "before", "then", "keep", "archive", "discard", "config", "where",
     "driver", "params"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(_KEYS, _JSON, max_size=4), st.dictionaries(_KEYS, _JSON, max_size=3))
def test_any_value_of_any_key(step: dict[str, object], defaults: dict[str, object]) -> None:
    import yaml

    document = {"defaults": defaults, "steps": {"a": step, "b": {"pipeline": "p", "after": ["a"]}}}
    judged(HEAD + yaml.safe_dump(document, sort_keys=False), N="1")
