"""Where `attempt_victim.py` is, for those who must not run it in their own process."""

from pathlib import Path

VICTIM = Path(__file__).with_name("attempt_victim.py")
DIED = 9
