"""Make the report of a campaign: one HTML file that needs nothing else.

    python make_report.py --campaign NAME --out report.html [--address unix:/path/cmd.sock]
    [--pictures pictures.json] [--check check.json] [--made-by COMMAND]

Runs in the daemon's environment and asks a running daemon for all it shows. `--pictures` is what
pictures.py wrote, `--check` what `check_truth.py --json` printed. A campaign that has not ended is
shown as far as it is. Exit status 0: the report is written; 1: it could not be made.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import moving  # noqa: E402
import palette  # noqa: E402
import placing  # noqa: E402
import results  # noqa: E402
import sections  # noqa: E402
import words  # noqa: E402
from markup import Html, el, join, text  # noqa: E402
from reading import Facts, read  # noqa: E402

from cm_client import Client, CmError, campaign_name  # noqa: E402


def page(
    facts: Facts,
    pictures: Mapping[str, Any] | None = None,
    check: Mapping[str, Any] | None = None,
    made_by: str = "",
) -> str:
    """The report as HTML."""
    seen = pictures or {}
    steps = palette.step_colours(facts.step_names)
    facilities = palette.facility_colours(facts.facility_names)
    shown: list[tuple[str, str, Html]] = [
        ("steps", "Facilities and steps", sections.steps(facts, steps)),
        ("timeline", "Timeline", sections.when(facts, steps)),
        ("placement", "Placement", placing.placement(facts, seen, facilities)),
        ("moved", "Data moved", moving.moved(facts)),
        ("nexus", "Nexus log", moving.nexus(facts)),
        ("calibration", "Calibration", results.calibration(facts, seen, facilities)),
        ("coadd", "One coadd", results.coadd(seen)),
        ("problems", "Problems", sections.problems(facts)),
        ("reproduce", "How to do it again", sections.reproduce(facts, seen, made_by)),
    ]
    links = [el("a", name, href=f"#{identity}") for identity, name, _ in shown]
    footer = (
        f"Made from the daemon's own records at {words.moment(facts.read_at)} UTC; all times are UTC, "
        "sizes in decimal units."
    )
    return Template((HERE / "page.html").read_text()).substitute(
        title=text(f"{facts.title}: campaign report"),
        style=(HERE / "page.css").read_text(),
        header=sections.header(facts, check),
        tiles=sections.tiles(facts, seen),
        contents=join(links),
        sections=join([part for _, _, part in shown], "\n"),
        footer=text(footer),
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description="Make the HTML report of a campaign.")
    parser.add_argument("--campaign", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--address", help="the daemon's address; default as for cm")
    parser.add_argument("--pictures", type=Path, help="what pictures.py wrote")
    parser.add_argument("--check", type=Path, help="what check_truth.py --json printed")
    parser.add_argument("--made-by", default="", help="the command to do it all again")
    given = parser.parse_args(arguments)
    try:
        pictures = json.loads(given.pictures.read_text()) if given.pictures else None
        check = json.loads(given.check.read_text()) if given.check else None
        with Client(given.address) as client:
            facts = read(client, campaign_name(given.campaign))
        made = page(facts, pictures, check, given.made_by)
        making = given.out.with_name(given.out.name + ".new")
        making.write_text(made)
        making.replace(given.out)
    except (CmError, OSError, ValueError) as error:
        print(f"make_report: {error}", file=sys.stderr)
        return 1
    print(f"{given.out}: campaign {given.campaign}, {len(made) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
