"""Makes importable what lies in other rooms of the tests, as pytest does; to be imported first."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(_TESTS), str(_TESTS / "housekeeping")]
