"""The command `cmd-daemon`."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from cmd_daemon import __version__
from cmd_daemon.api.server import SocketInUse
from cmd_daemon.config import ConfigError, read_config
from cmd_daemon.daemon import serve
from cmd_daemon.engine.clock import SystemClock
from cmd_daemon.hooks.manager import PluginError
from cmd_daemon.observe.logs import set_up
from cmd_daemon.store import Store, StoreError, described, portable
from cmd_daemon.store.backup import backup as save
from cmd_daemon.store.backup import restore as put_back
from cmd_daemon.store.looking import looked_at

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
    """Run until SIGTERM. Jobs outside go on; the next start adopts them. SIGHUP reads the facilities
    again."""
    with _told():
        settings = read_config(config)
        set_up(settings.daemon.log_level, settings.daemon.log_format)
        asyncio.run(serve(settings, config))


@main.command()
@configuration
def check(config: Path) -> None:
    """Check a configuration file and say what it would run."""
    with _told():
        settings = read_config(config)
        database = described(settings.daemon.database_url, settings.daemon.password_file)
    click.echo(f"database: {database}")
    if settings.retention is not None:
        kept = settings.retention
        click.echo(
            f"archived campaigns: to {kept.directory}, {kept.after_days:g} days after their end"
        )
    for name, section in settings.facility.items():
        drivers = ", ".join(f"{kind} by {driver}" for kind, driver in section.drivers.items())
        click.echo(f"{name}: {section.slots} slots; {drivers}")
    click.echo(f"{config}: good")


@main.command()
@configuration
@click.argument("target", type=click.Path(path_type=Path))
def backup(config: Path, target: Path) -> None:
    """Copy the SQLite database into the new file TARGET, also while the daemon runs."""
    with _told():
        size = save(read_config(config).daemon.database_url, target)
        click.echo(f"{target}: {size} bytes")


@main.command()
@configuration
@click.argument("source", type=click.Path(path_type=Path))
def restore(config: Path, source: Path) -> None:
    """Put the backup SOURCE in the place of the SQLite database. The daemon must not run."""
    with _told():
        kept = put_back(read_config(config).daemon.database_url, source)
        click.echo(f"restored from {source}" + (f"; what was there is {kept}" if kept else ""))


@main.command()
@configuration
@click.argument("campaign")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), required=True, help="The file to make."
)
def export(config: Path, campaign: str, target: Path) -> None:
    """Write CAMPAIGN with its whole history into a new file, also while the daemon runs."""
    with _told():
        count = asyncio.run(_export(config, campaign, target))
        click.echo(f"{target}: {campaign} with {count} events, {target.stat().st_size} bytes")


@main.command("import")
@configuration
@click.argument("source", type=click.Path(path_type=Path))
def bring_in(config: Path, source: Path) -> None:
    """Add the campaign in the file SOURCE, which must be over, to the database. The daemon must not run."""
    with _told():
        history = portable.read(source)
        count = asyncio.run(_bring_in(config, history))
        click.echo(f"{history.campaign}: {history.state}, with {count} events")


@main.command()
@configuration
@click.argument("source")
def replay(config: Path, source: str) -> None:
    """Decide a history once more, and compare. SOURCE is a file of `export`, or a campaign of the database,
    also while the daemon runs."""
    with _told():
        if Path(source).exists():
            history = portable.read(Path(source))
        else:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "history"
                asyncio.run(_export(config, source, file))
                history = portable.read(file)
        same = portable.replay(history)
        click.echo(
            f"{history.campaign}: {same.decided} events decided again; {same.events} records of the "
            f"history and {same.rows} rows are the same, byte for byte"
        )


async def _export(config: Path, campaign: str, target: Path) -> int:
    section = read_config(config).daemon
    async with looked_at(section.database_url, section.password_file) as reading:
        return await portable.export(reading, campaign, target)


async def _bring_in(config: Path, history: portable.History) -> int:
    section = read_config(config).daemon
    store = await Store.open(
        section.database_url, clock=SystemClock().now, password_file=section.password_file
    )
    try:
        return await portable.bring_in(store, history)
    finally:
        await store.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong, and end with 1."""
    try:
        yield
    except (ConfigError, PluginError, StoreError, SocketInUse) as error:
        click.echo(f"cmd-daemon: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
