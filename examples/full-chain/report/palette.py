"""Colours: names of CSS variables, which the style sheet gives values for light and for dark."""

from collections.abc import Sequence

STEPS = 10
FACILITIES = 5


def step_colours(steps: Sequence[str]) -> dict[str, str]:
    """A colour for each step, in their order."""
    return {step: f"var(--step-{i % STEPS})" for i, step in enumerate(steps)}


def facility_colours(facilities: Sequence[str]) -> dict[str, str]:
    """A colour for each facility, in their order."""
    return {name: f"var(--facility-{i % FACILITIES})" for i, name in enumerate(facilities)}
