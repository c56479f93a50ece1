"""`cm top` on a terminal of 80 by 24, and once for scripts."""

import signal

import grpc
import pyte
import pytest
from client_setup import Cm, wait_until
from fake_daemon import FakeDaemon
from fake_world import HOSTILE
from terminal import Terminal

GROUP = "campaigns/DRP1/steps/coadd/groups/0000"


class Seen:
    """What a person sees on the terminal now."""

    def __init__(self, terminal: Terminal, rows: int = 24) -> None:
        self._terminal = terminal
        self._screen = pyte.Screen(80, rows)
        self._stream = pyte.Stream(self._screen)
        self._read = 0

    @property
    def lines(self) -> list[str]:
        text = self._terminal.text
        self._stream.feed(text[self._read :])
        self._read = len(text)
        return list(self._screen.display)

    def shows(self, words: str) -> None:
        wait_until(lambda: any(words in line for line in self.lines))


@pytest.fixture
def crowded(fake: FakeDaemon) -> FakeDaemon:
    """More campaigns, needs and events than there are lines."""
    for number in range(30):
        fake.world.add_campaign(f"C{number:02}")
    for number in range(3):
        fake.move(f"campaigns/DRP1/steps/coadd/groups/{number:04}", "HELD", HOSTILE)
    return fake


def test_once_is_for_scripts(cm: Cm, crowded: FakeDaemon) -> None:
    told = cm("top", "--once")
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in told.stdout
    assert "3 wait for a person" in lines[0]
    for words in ("DRP1", "C29", "USDF", "DRP1/coadd/0000", "Last events", "RUNNING -> HELD"):
        assert words in told.stdout, words
    first = next(line for line in lines if "DRP1" in line)
    assert lines.index(first) < next(at for at, line in enumerate(lines) if "C00" in line)


def test_without_a_terminal_it_is_once(cm: Cm, fake: FakeDaemon) -> None:
    assert "DRP1" in cm("top").stdout


def test_everything_fits_on_a_small_screen(cm: Cm, crowded: FakeDaemon) -> None:
    terminal = Terminal(cm, "top", rows=24)
    seen = Seen(terminal)
    seen.shows("q quit")
    lines = seen.lines
    assert "cm top" in lines[0]
    assert "q quit" in lines[23]
    for title in ("Campaign", "Facility", "Waits for a person", "Last events"):
        assert sum(line.startswith(title) for line in lines) == 1, title
    assert any("more" in line for line in lines)
    terminal.type("q")
    assert terminal.end() == 0
    assert "\x1b[?1049l" in terminal.text, "the former screen is back"


def test_keys_choose_open_and_close(cm: Cm, fake: FakeDaemon) -> None:
    fake.world.add_campaign("DRP2")
    terminal = Terminal(cm, "top", rows=24)
    seen = Seen(terminal)
    seen.shows(">")
    first = next(line for line in seen.lines if line.startswith(">"))
    terminal.type("\x1b[B")
    wait_until(lambda: first not in seen.lines)
    seen.shows("> ")
    terminal.type("\x1b[A")
    wait_until(lambda: first in seen.lines)
    terminal.type("\x1b[C")
    seen.shows("Steps of")
    seen.shows("calibrate")
    terminal.type("\x1b[D")
    seen.shows("→ steps of it")
    terminal.type("q")
    assert terminal.end() == 0


def test_it_follows_and_outlasts_the_daemon(cm: Cm, fake: FakeDaemon) -> None:
    terminal = Terminal(cm, "top", rows=24)
    seen = Seen(terminal)
    seen.shows("q quit")
    wait_until(lambda: fake.world.watchers)
    fake.move(GROUP, "HELD", "no room")
    seen.shows("1 wait for a person")
    seen.shows("HELD DRP1/coadd/0000: no room")
    fake.stop()
    seen.shows("Connection lost")
    fake.start()
    seen.shows("q quit")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0


def test_no_daemon_is_said_at_once(cm: Cm, fake: FakeDaemon) -> None:
    fake.stop()
    told = cm("--timeout", "1", "top", "--once")
    assert told.returncode == 6
    assert grpc.StatusCode.UNAVAILABLE.name not in told.stderr
    fake.start()


def test_hostile_words_do_nothing_to_the_terminal(cm: Cm, crowded: FakeDaemon) -> None:
    terminal = Terminal(cm, "top", rows=24)
    seen = Seen(terminal)
    seen.shows("q quit")
    assert "\x1b]0;" not in terminal.text
    assert "\u202e" not in terminal.text
    terminal.type("q")
    assert terminal.end() == 0
