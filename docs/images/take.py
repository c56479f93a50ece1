"""Takes the pictures of the dashboard from a daemon that runs, in a headless Chromium.

`python docs/images/take.py --address unix:build/.../cmd.sock [--into DIR] [--all]`, in the environment with
the extra `dev`. The demo is what the pictures in this folder show: `make demo`, then `make serve`, which says
the address. With `--all` every page of the newest campaign is taken, at a desk and on a phone, in light and
dark, to be looked at; without it only the pictures that documents show.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "web"))

from browser import DESK, PHONE, Browser, browser  # noqa: E402

from cm_client import Client  # noqa: E402

SHOWN = (1280, 1200)
"""The size of a picture in a document."""


@contextmanager
def dashboard(address: str) -> Iterator[str]:
    """`cm web` for this daemon; its address with the key."""
    words = ["--address", address, "--actor", "pilot1", "web", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cm_cli", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield next(word for word in line.split() if "key=" in word)
    finally:
        process.terminate()
        process.wait()


def pages(client: Client) -> dict[str, str]:
    """Every page of the newest campaign, and those that are of none."""
    campaign = list(client.campaigns())[-1].name
    found = {
        "campaigns": "/",
        "campaign": f"/{campaign}",
        "nexus": f"/{campaign}/nexus",
        "facilities": "/facilities",
        "schedules": "/schedules",
        "events": "/events",
    }
    for facility in client.list_facilities().facilities:
        found[f"facility-{facility.name.rpartition('/')[2]}"] = f"/{facility.name}"
    for step in client.list_steps(campaign).steps:
        label = step.name.rpartition("/")[2]
        found[f"step-{label}"] = f"/{step.name}"
        for group in client.groups(step.name):
            found[f"group-{label}"] = f"/{group.name}"
            for job in client.jobs(group.name):
                found[f"job-{label}-{job.kind}"] = f"/{job.name}"
            break
    for cause in client.get_failure_causes(campaign, max_causes=5).causes:
        found["job-failed"] = f"/{cause.job}?attempt={cause.attempt}"
    return found


def whole(page: Browser, path: str) -> None:
    """Open a page and wait until nothing of it is still to come."""
    page.open(path)
    page.until(lambda: "Being counted" not in page.text(), "the counts")
    page.until(lambda: page.text("#lines") or not page.all("#lines"), "the log")


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--into", type=Path, default=HERE)
    parser.add_argument("--all", action="store_true")
    given = parser.parse_args()
    with (
        Client(given.address) as client,
        dashboard(given.address) as home,
        tempfile.TemporaryDirectory() as profile,
        browser(home, Path(profile)) as page,
    ):
        found = pages(client)
        if not given.all:
            page.size(SHOWN)
            whole(page, found["campaign"])
            (given.into / "dashboard-campaign.png").write_bytes(page.driver.get_screenshot_as_png())
            return
        for theme in ("light", "dark"):
            page.theme(theme)
            for label, size in (("desk", DESK), ("phone", PHONE)):
                for name, path in found.items():
                    page.size(size)
                    whole(page, path)
                    page.shot(given.into / f"{name}-{theme}-{label}.png")


if __name__ == "__main__":
    main()
