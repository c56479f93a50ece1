"""Makes importable what lies in other rooms of the tests, as pytest does; to be imported first."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_ROOMS = ("housekeeping", "rucio", "moving", "rucio_butler/live")
sys.path[:0] = [str(_TESTS), *(str(_TESTS / room) for room in _ROOMS)]
