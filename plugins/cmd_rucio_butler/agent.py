"""The agent `rucio`: the Butler agent of a facility with the operations that Rucio's files need."""

from dataclasses import replace
from pathlib import Path

from cmd_daemon.hooks import DriverError, ErrorClass, FacilityInfo, Host
from cmd_local.agent import ButlerAgent
from cmd_local.programs import agent_program
from cmd_local.settings import agent_settings

PROGRAM = Path(__file__).parent / "stack" / "rucio_agent.py"


class RucioAgentFactory:
    """Makes the agent of a facility; it can all that the agent `butler` can."""

    name = "rucio"

    def create(self, facility: FacilityInfo, host: Host) -> ButlerAgent:
        """Make the agent; raises DriverError PERMANENT if its configuration is wrong."""
        settings = agent_settings(facility)
        program = agent_program(facility, settings)
        try:
            files = {**program.files, PROGRAM.name: PROGRAM.read_bytes()}
        except OSError as error:
            raise DriverError(
                ErrorClass.PERMANENT,
                f"facility {facility.name}: the program of its agent cannot be read: {error}",
            ) from error
        whole = replace(program, files=files, main=PROGRAM.name)
        return ButlerAgent(facility.name, whole, settings, host)
