"""The commands of the README."""

import re

from demo_process import ROOT


def readme_commands() -> list[str]:
    """The commands of the README, in their order, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines), lines
    return [line[2:].partition("#")[0].strip() for line in lines]
