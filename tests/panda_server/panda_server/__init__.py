"""A PanDA server and iDDS relay for tests: it answers recorded exchanges as the real one did."""

from panda_server.model.clock import Clock
from panda_server.model.pace import Pace
from panda_server.model.pilot import Pilot, Report, Rule
from panda_server.model.queues import Queue
from panda_server.model.world import World
from panda_server.server import PandaServer
from panda_server.web.identity import Issuer

__all__ = ["Clock", "Issuer", "Pace", "PandaServer", "Pilot", "Queue", "Report", "Rule", "World"]
