"""The colours: enough contrast for everybody (WCAG 2.2 AA), in light and in dark."""

import re
from itertools import product
from pathlib import Path

import pytest

import cm_web
from cm_web import states

STATIC = Path(cm_web.__file__).parent / "static"
PALETTE = (STATIC / "palette.css").read_text()
PAIRS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", PALETTE
    )
}
THEMES = ("light", "dark")
KINDS = sorted(set(states.KINDS.values()))
TEXT = 4.5
"""Least contrast of text (1.4.3)."""
SHAPE = 3.0
"""Least contrast of what must be seen to be understood (1.4.11)."""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """From 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def of(name: str, theme: str) -> str:
    """A colour of the palette in a theme."""
    return PAIRS[name][THEMES.index(theme)]


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


def test_every_colour_is_a_pair_and_there_are_no_others() -> None:
    assert len(PAIRS) == PALETTE.count("light-dark(")
    for file in ("page.css", "pictures.css"):
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[;, )])", (STATIC / file).read_text()) == [], file


@pytest.mark.parametrize("theme", THEMES)
def test_words_can_be_read(theme: str) -> None:
    papers = ("paper", "panel", "raised", "chosen")
    for words, paper in product(("ink", "soft", "accent", *KINDS), papers):
        assert contrast(of(words, theme), of(paper, theme)) >= TEXT, (words, paper)
    for kind in KINDS:
        for words in (kind, "ink"):
            assert contrast(of(words, theme), of(f"{kind}-paper", theme)) >= TEXT, (words, kind)
    for button in ("accent", "bad"):
        assert contrast(of("paper", theme), of(button, theme)) >= TEXT


@pytest.mark.parametrize("theme", THEMES)
def test_shapes_can_be_seen(theme: str) -> None:
    for paper in ("paper", "panel", "raised"):
        assert contrast(of("edge", theme), of(paper, theme)) >= SHAPE, paper
        assert contrast(of("accent", theme), of(paper, theme)) >= SHAPE, "the ring of the focus"
    for kind in set(KINDS) - {"wait"}:  # what has not begun is background
        assert contrast(of(f"{kind}-fill", theme), of("wait-paper", theme)) >= 2.2, kind
        assert contrast(of(f"{kind}-fill", theme), of("paper", theme)) >= 2.5, kind


def test_every_kind_has_its_colour_its_sign_and_its_pattern() -> None:
    sprite = (Path(cm_web.__file__).parent / "templates" / "sprite.html").read_text()
    for kind in KINDS:
        assert f".k-{kind} {{" in PALETTE
        assert f".f-{kind} {{" in PALETTE
        assert f'id="i-{kind}"' in sprite
        assert kind in ("done", "wait") or f'id="p-{kind}"' in sprite
