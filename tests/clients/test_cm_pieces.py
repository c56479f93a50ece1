"""The pieces of what `cm` prints: cleaning, units, bars, the exit codes of errors."""

import random

import pytest
from fake_world import HOSTILE

from cm_cli.errors import refusal
from cm_cli.show.bars import ORDER, StateBar
from cm_cli.show.text import clean, duration, size
from cm_client import (
    CmError,
    DaemonUnavailable,
    DeadlineExceeded,
    InvalidCampaignFile,
    InvalidName,
    NotAccepting,
    NotFound,
)
from cm_client.words import log_text


def test_clean_takes_away_what_a_terminal_would_obey() -> None:
    assert clean(HOSTILE) == "[red]bad[/red] [31mESC]0;title back :smile: second line"
    assert clean("a\tb\nc\r", lines=True) == "a\tb\nc"
    assert clean("\x9b31m\u2066x\ud800") == "31mx"
    assert clean("naïve 星 ✓") == "naïve 星 ✓"


def test_a_character_cut_between_two_pieces_of_a_log_comes_out_whole() -> None:
    decode = log_text()
    assert decode("é".encode()[:1]) + decode("é".encode()[1:] + b"\x1b[2J\n") == "é[2J\n"
    assert decode(b"\xff") == "\ufffd"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (90061, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert [size(n) for n in (0, 999, 1500, 2e9, 3e15)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 GB",
        "3.0 PB",
    ]


def test_a_bar_is_always_full_and_shows_every_state_it_has_room_for() -> None:
    chance = random.Random(7)
    for _ in range(2000):
        states = chance.sample([state for state, _, _ in ORDER], chance.randint(1, len(ORDER)))
        counts = {state: int(10 ** chance.uniform(0, 6)) for state in states}
        width = chance.randint(1, 60)
        shares = StateBar(counts).shares(width)
        assert sum(shares) == width, (counts, width, shares)
        assert all(share >= 0 for share in shares)
        if width >= len(states):
            shown = {state for (state, _, _), share in zip(ORDER, shares, strict=True) if share}
            assert shown == set(states), (counts, width, shares)
    assert sum(StateBar({}).shares(20)) == 0
    assert sum(StateBar({"ACCEPTED": 0}).shares(20)) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 1),
        (NotAccepting("x"), 1),
        (CmError("x"), 1),
        (InvalidName("x"), 2),
        (InvalidCampaignFile("x"), 2),
        (DaemonUnavailable("x"), 6),
        (DeadlineExceeded("x"), 6),
    ],
)
def test_exit_codes(error: CmError, code: int) -> None:
    assert refusal(error).exit_code == code
    assert refusal(error).message.startswith("x")
