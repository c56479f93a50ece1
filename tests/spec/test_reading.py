"""Text to values: YAML's traps, limits, and what people are told."""

import pytest
import yaml
from spec_cases import complaints

from cmd_daemon.spec.problems import CampaignFileError
from cmd_daemon.spec.reading import MAX_BYTES, read_document, scalar_of, value_of

EMPTY = "toy.yaml:1:1: the file is empty (a campaign file begins with 'campaign: NAME')"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", EMPTY),
        ("\n# nothing\n", EMPTY),
        ("~", EMPTY),
        (
            "- a\n- b\n",
            "toy.yaml:1:1: a campaign file is a mapping of keys, this is a list "
            "(it begins with 'campaign: NAME')",
        ),
        (
            "42",
            "toy.yaml:1:1: a campaign file is a mapping of keys, this is the number 42 "
            "(it begins with 'campaign: NAME')",
        ),
        (
            b"campaign: a\nowner: \xff\n",
            "toy.yaml:2:8: byte 0xff is not UTF-8 (save the file as UTF-8)",
        ),
        (
            b"campaign: a\n\0",
            "toy.yaml:2:1: there is a NUL byte here (this is not a text file)",
        ),
        (
            "campaign: \ud800",
            "toy.yaml:1:1: the text has a character that is no Unicode (save it as UTF-8)",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "toy.yaml:2:1: a second document begins here (one file is one campaign)",
        ),
        (
            "a: &x [*x]",
            "toy.yaml:1:8: the alias '*x' names nothing that stands before it "
            "(an anchor is written '&name' and may not contain itself)",
        ),
        (
            "? [a]\n: b",
            "toy.yaml:1:3: a key must be plain text "
            '(inside { } a ${NAME} must be in quotes: "${NAME}")',
        ),
        (
            "a: " + "[" * 50 + "]" * 50,
            "toy.yaml:1:44: the file is nested more than 40 levels deep",
        ),
        (
            "a: [" + "1," * 100_001 + "]",
            "toy.yaml:1:200001: the file has more than 100000 values "
            "(use ranges or a query instead of long lists of values)",
        ),
    ],
)
def test_what_is_no_campaign_file(text: str | bytes, said: str) -> None:
    assert complaints(text) == [said]


def test_too_long() -> None:
    (said,) = complaints("#" * (MAX_BYTES + 1))
    assert said.startswith("toy.yaml:1:1: the file has 1048577 bytes, at most 1048576 are allowed")


def test_wrong_yaml_names_the_line() -> None:
    (said,) = complaints("campaign: a\nowner: [b\nstack: c\n")
    assert said.startswith("toy.yaml:3:6: this is not YAML: while parsing a flow sequence")
    assert said.endswith(
        "(look at the indentation, colons and quotes of this line and the one before)"
    )


def test_a_parameter_in_braces_needs_quotes() -> None:
    (said,) = complaints("a:\n  split: {by: visit, size: ${N}}\n")
    assert 'inside { } and [ ] a ${NAME} must be in quotes: "${NAME}"' in said


def test_tabs_are_named() -> None:
    (said,) = complaints("campaign: a\nsteps:\n\ta: b\n")
    assert said.endswith("(YAML is indented with spaces, not tabs)")


def test_a_bomb_of_aliases_is_stopped() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    (said,) = complaints("\n".join(lines))
    assert "more than 100000 values" in said


def test_keys_given_twice_tags_and_merges_are_noted() -> None:
    document = read_document("a: 1\na: 2\nb: !!python/name:os.system x\n<<: {c: 1}\n", "f")
    assert [str(p) for p in document.problems] == [
        "f:2:1: a: this key is given twice (first in line 1) (keep one of the two)",
        "f:3:4: b: the YAML tag 'tag:yaml.org,2002:python/name:os.system' is not allowed "
        "(write the plain value)",
        "f:4:1: <<: merge keys are not allowed (use 'defaults')",
    ]


def test_places_count_from_one() -> None:
    document = read_document("a:\n  b: [1, 22]\n  c: x\n", "f")
    assert document.values[("a", "b", 1)] == (2, 10)
    assert document.keys[("a", "c")] == (3, 3)
    assert document.place(("a", "b", 7, "gone")) == (2, 6)


def test_aliases_within_limits() -> None:
    assert read_document("a: &x {b: 1}\nc: *x\n", "f").data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("0", 0), ("007", "007"), ("1_000", "1_000"), ("0x10", "0x10"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1e999", "1e999"), ("1.", 1.0), (".", "."),
        ("e5", "e5"), ("yes", "yes"), ("no", "no"), ("on", "on"), ("true", True), ("False", False),
        ("null", None), ("~", None), ("12:30", "12:30"), ("2026-11-22", "2026-11-22"), (".nan", ".nan"),
        ("9" * 30, "9" * 30),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    found = scalar_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("[1, 2]", [1, 2]), ("a: b", "a: b"), ("{", "{"), ("46", 46), ("", None), ("x", "x")],
)
def test_values_given_outside(text: str, value: object) -> None:
    assert value_of(text) == value


def test_the_fast_parser_and_the_other_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: [1, 'x', {b: ~}]\nc: |\n  text\n"
    fast = read_document(text, "f")
    monkeypatch.setattr("cmd_daemon.spec.reading._LOADER", yaml.SafeLoader)
    slow = read_document(text, "f")
    assert (fast.data, fast.values, fast.keys) == (slow.data, slow.values, slow.keys)
    with pytest.raises(CampaignFileError):
        read_document("a: \x07", "f")


def test_a_long_text_is_not_multiplied_by_aliases() -> None:
    (said,) = complaints("a: &x " + "y" * 500_000 + "\nb: [" + "*x, " * 20 + "]")
    assert said == "toy.yaml:2:33: the file grows too long by its aliases"
