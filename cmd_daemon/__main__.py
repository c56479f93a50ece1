"""The command `cmd-daemon`."""

import asyncio
import sys
from pathlib import Path

import click

from cmd_daemon import __version__
from cmd_daemon.api.server import SocketInUse
from cmd_daemon.config import ConfigError, read_config
from cmd_daemon.daemon import serve
from cmd_daemon.hooks.manager import PluginError
from cmd_daemon.observe.logs import set_up
from cmd_daemon.store import StoreError, described

DEFAULT = Path("/etc/cmd-daemon/cmd-daemon.toml")

configuration = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    default=DEFAULT,
    show_default=True,
    envvar="CMD_CONFIG",
    help="The configuration file (TOML).",
)


@click.group()
@click.version_option(__version__)
def main() -> None:
    """The campaign-management daemon."""


@main.command()
@configuration
def run(config: Path) -> None:
    """Run until SIGTERM. Jobs outside go on; the next start adopts them."""
    try:
        settings = read_config(config)
        set_up(settings.daemon.log_level, settings.daemon.log_format)
        asyncio.run(serve(settings))
    except (ConfigError, PluginError, StoreError, SocketInUse) as error:
        click.echo(f"cmd-daemon: {error}", err=True)
        sys.exit(1)


@main.command()
@configuration
def check(config: Path) -> None:
    """Check a configuration file and say what it would run."""
    try:
        settings = read_config(config)
        database = described(settings.daemon.database_url, settings.daemon.password_file)
    except (ConfigError, StoreError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(f"database: {database}")
    for name, section in settings.facility.items():
        drivers = ", ".join(f"{kind} by {driver}" for kind, driver in section.drivers.items())
        click.echo(f"{name}: {section.slots} slots; {drivers}")
    click.echo(f"{config}: good")


if __name__ == "__main__":
    main()
