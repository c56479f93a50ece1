"""How long things take, in seconds of the model's time; as the recorded lives show them."""

from dataclasses import dataclass


@dataclass
class Pace:
    """Waits of JEDI and of the pilots. A real server's are of the same order, and vary."""

    refine: float = 1.5
    contents: float = 0.2
    generate: float = 0.4
    begin: float = 0.8
    hold: float = 0.3
    define: float = 0.2
    activate: float = 0.2
    start: float = 1.5
    run: float = 10.0
    add: float = 1.0
    again: float = 9.0
    check: float = 30.0
    move: float = 0.8
    command: float = 13.0
    heartbeat: float = 600.0
    broker_again: float = 600.0
    idds: float = 5.0

    def scaled(self, factor: float) -> "Pace":
        """The same order of things, each wait times `factor`."""
        return Pace(**{name: value * factor for name, value in vars(self).items()})
