"""The tree of steps, groups and jobs that a campaign file would make, and what an edit changes."""

from __future__ import annotations

from collections.abc import Iterable

from cmd_api.v1.campaign_pb2 import (
    Change,
    PlanCampaignResponse,
    PlannedGroup,
    PlannedPlacement,
    PlannedStep,
)
from rich.console import RenderableType
from rich.tree import Tree

from .console import row, table, text
from .text import counted, size


def plan_tree(plan: PlanCampaignResponse) -> RenderableType:
    """The whole tree; of each step only the groups that the response lists."""
    count = ", ".join(
        (
            counted(len(plan.steps), "step"),
            counted(plan.group_count, "group"),
            counted(plan.job_count, "job"),
        )
    )
    tree = Tree(text(f"{plan.campaign}: {count}", "bold"))
    if plan.output:
        tree.add(text(f"output {plan.output}"))
    for step in plan.steps:
        _add_step(tree, step)
    return tree


def _add_step(tree: Tree, step: PlannedStep) -> None:
    words = [step.step]
    if step.optional:
        words.append("(optional)")
    if step.after:
        words.append(f"after {', '.join(step.after)}")
    branch = tree.add(text(" ".join(words), "bold"))
    if step.breakpoint:
        branch.add(text(f"waits for a signature: {step.breakpoint}", "yellow"))
    if step.splitter:
        branch.add(text(f"split by {step.splitter}: {counted(step.group_count, 'group')}"))
    if step.output:
        branch.add(text(f"output {step.output}"))
    if step.job_names:
        branch.add(text(f"jobs of each group: {', '.join(step.job_names)}"))
    for placement in step.placements:
        branch.add(_placement(placement))
    if step.note:
        branch.add(text(step.note, "italic"))
    for group in step.groups:
        _add_group(branch, group)
    if step.groups and step.group_count > len(step.groups):
        branch.add(text(f"… and {step.group_count - len(step.groups)} more"))


def _add_group(branch: Tree, group: PlannedGroup) -> None:
    words = [f"group {group.group}"]
    if group.where:
        words.append(f"where {group.where}")
    if group.size:
        words.append(f"({group.size} data ids)")
    if group.facility:
        words.append(f"at {group.facility.removeprefix('facilities/')}")
    twig = branch.add(text(" ".join(words)))
    if group.reason:
        twig.add(text(f"{'why there' if group.facility else 'no facility'}: {group.reason}"))
    if group.HasField("input_bytes"):
        twig.add(text(f"inputs: {size(group.input_bytes)}"))
    for key in group.keys:
        twig.add(text(key))


def _placement(placement: PlannedPlacement) -> RenderableType:
    """How many of a step's groups would run at one facility, with the bytes of their inputs and why."""
    there = placement.facility.removeprefix("facilities/")
    words = [f"at {there}:" if there else "nowhere now:", counted(placement.group_count, "group")]
    if placement.HasField("input_bytes"):
        words.append(f"with {size(placement.input_bytes)} of inputs")
    if placement.reason:
        words.append(f"({placement.reason})")
    return text(" ".join(words), "" if there else "yellow")


def change_table(changes: Iterable[Change]) -> RenderableType:
    """What differs from the version before."""
    grid = table("Key", "Was", "Becomes")
    for change in changes:
        row(grid, change.field, change.old, change.new)
    return grid
