"""The outside system's worker: `python -m cmd_spool.worker DIRECTORY`, until it is ended.

It may be killed and started again at any time; entries that were running go on.
"""

import sys
import time
from pathlib import Path

from cmd_spool.spool import Spool

PAUSE_S = 0.02


def main() -> None:
    """Work off the queue of a directory, for ever."""
    spool = Spool(Path(sys.argv[1]))
    spool.prepare()
    print("ready", flush=True)
    while True:
        spool.finish()
        spool.begin()
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
