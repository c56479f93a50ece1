"""The dashboard."""

from __future__ import annotations

import click

from ..caller import Caller, pass_caller

PORT = 8765


@click.command()
@click.option("--port", default=PORT, show_default=True, help="0 takes a free one.")
@click.option(
    "--address",
    "bind",
    default="127.0.0.1",
    show_default=True,
    help="Where to listen. Anywhere else than here, everybody who has the key acts as you.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
@pass_caller
def web(caller: Caller, port: int, bind: str, open_browser: bool) -> None:
    """Serve the dashboard for you, until Ctrl-C.

    It prints the address to open, with your key in it.
    """
    try:
        from cm_web.serve import run
    except ModuleNotFoundError as missing:
        if missing.name not in ("starlette", "uvicorn", "jinja2", "markupsafe"):
            raise
        raise click.ClickException(
            f"The dashboard is not installed ({missing.name} is missing). "
            "Install it with: pip install 'cmd-daemon[web]'"
        ) from None

    def say(url: str) -> None:
        click.echo(f"The dashboard is at {url}\nCtrl-C ends it; campaigns go on.")

    try:
        proof = caller.credentials()
        run(bind, port, caller.address, caller.actor, proof, say, open_browser)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    except OSError as problem:
        raise click.ClickException(
            f"The dashboard cannot listen at {bind}:{port}: {problem.strerror or problem}. "
            "Another port: --port"
        ) from None


COMMANDS = (web,)
