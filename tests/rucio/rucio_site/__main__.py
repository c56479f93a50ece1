"""Start the site and keep it until SIGTERM or ^C; prints its addresses as one line of JSON.

cd tests/rucio && python -m rucio_site [--home DIR] [--root RSE=DIR]... [--every SECONDS]
"""

import argparse
import json
import signal
import tempfile
from pathlib import Path

from rucio_site.site import Site


def main() -> None:
    """Serve."""
    asked = argparse.ArgumentParser(description="A real Rucio with four storage elements.")
    asked.add_argument("--home", type=Path, help="configuration and logs (a new directory)")
    asked.add_argument("--root", action="append", default=[], metavar="RSE=DIR")
    asked.add_argument(
        "--every", type=float, default=1.0, help="seconds between the daemons' rounds"
    )
    options = asked.parse_args()
    roots = {rse: Path(root) for rse, _, root in (text.partition("=") for text in options.root)}
    home = options.home or Path(tempfile.mkdtemp(prefix="rucio-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Site(home, roots) as site:
            site.daemons.pace(options.every)
            print(json.dumps(site.addresses), flush=True)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
