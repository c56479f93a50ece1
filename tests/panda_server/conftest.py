"""The package `panda_server` lies beside this file; the tests of other rooms find it the same way."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
