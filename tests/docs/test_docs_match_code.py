"""What the pages list is what the code has: hooks, keys, reasons, commands, states, methods, metrics."""

import ast
import inspect
import re
import shlex
from enum import StrEnum

import click
import pytest
from docs_pages import DOCS, PAGES, ROOT, blocks, codes, first_column, headings, section, text_of
from prometheus_client import Counter
from pydantic import BaseModel

from cm_cli.main import cli
from cm_client import errors as client_errors
from cmd_api.v1 import (
    audit_pb2,
    campaign_pb2,
    daemon_pb2,
    event_pb2,
    facility_pb2,
    group_pb2,
    job_pb2,
    schedule_pb2,
    statistics_pb2,
    step_pb2,
)
from cmd_daemon import hooks
from cmd_daemon.api.identity import settings as identity
from cmd_daemon.api.identity.roles import NEEDED, OURS, Role
from cmd_daemon.config import Config, DaemonSection, FacilitySection, read_config
from cmd_daemon.hooks.manager import Plugins
from cmd_daemon.kernel import states
from cmd_daemon.observe.metrics import registry
from cmd_local.settings import AgentSettings, ButlerSettings, LocalSettings

GUIDE = text_of("plugin-guide.md")
OPERATIONS = text_of("operations.md")
API = text_of("api.md")
IDENTITY = text_of("identity.md")

MODULES = (
    audit_pb2,
    campaign_pb2,
    daemon_pb2,
    event_pb2,
    facility_pb2,
    group_pb2,
    job_pb2,
    schedule_pb2,
    statistics_pb2,
    step_pb2,
)


def _commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    assert isinstance(cli, click.Group)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


# --- the plugin guide ----------------------------------------------------------------------------


def test_every_hook_is_a_heading_with_its_arguments() -> None:
    hooked = {
        f"{name}({', '.join(list(inspect.signature(hook).parameters)[1:])})"
        for name, hook in inspect.getmembers(hooks.Hooks, inspect.isfunction)
        if not name.startswith("_")
    }
    described = {heading for heading in headings(GUIDE) if heading.startswith("cmd_")}
    assert described == hooked


def test_every_name_of_the_plugin_api_is_in_the_guide() -> None:
    unsaid = {"PROJECT", "Hooks", "StepPolicy"}
    words = set(re.findall(r"\w+", GUIDE))
    assert set(hooks.__all__) - unsaid - words == set()


@pytest.mark.parametrize("port", ["Driver", "Host", "Agent", "Splitter", "Selector", "Transport"])
def test_every_method_of_a_port_is_in_the_guide(port: str) -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(getattr(hooks, port), inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods, port
    said = {match for code in codes(GUIDE) for match in re.findall(r"^(\w+)\(", code)}
    assert methods - said == set()


@pytest.mark.parametrize("kind", [hooks.ErrorClass, hooks.Safety, hooks.Phase])
def test_every_class_of_answers_is_in_the_guide(kind: type[StrEnum]) -> None:
    assert {member.name for member in kind} - set(re.findall(r"\w+", GUIDE)) == set()


def test_the_guide_shows_code_that_is_there() -> None:
    example = ROOT / "tests" / "example_plugin"
    sources = [path.read_text(encoding="utf-8") for path in example.rglob("*.py")]
    lines = {line.strip() for source in sources for line in source.splitlines()}
    shown = [line.strip() for block in blocks(GUIDE, "python") for line in block.splitlines()]
    assert shown
    assert [line for line in shown if line and line not in lines] == []


# --- operations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("[daemon]", DaemonSection),
        ("[facility.NAME]", FacilitySection),
        ("[facility.NAME.settings.local]", LocalSettings),
        ("[facility.NAME.settings.butler]", ButlerSettings),
        ("[facility.NAME.settings.agent]", AgentSettings),
    ],
)
def test_every_key_of_the_configuration_is_in_operations(
    heading: str, model: type[BaseModel]
) -> None:
    assert first_column(section(OPERATIONS, heading)) == list(model.model_fields)


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("[listen.NAME]", identity.ListenSection),
        ("[identity]", identity.IdentitySection),
        ("[identity.oidc]", identity.OidcSection),
        ("[identity.certificates]", identity.CertificatesSection),
        ("[identity.limits]", identity.LimitsSection),
    ],
)
def test_every_key_of_who_may_call_is_in_identity(heading: str, model: type[BaseModel]) -> None:
    assert first_column(section(IDENTITY, heading)) == list(model.model_fields)


def test_the_table_of_roles_is_that_of_the_code() -> None:
    part = section(IDENTITY, "Roles")
    rows = re.findall(r"^\| ([a-z ]+) \| (.+) \|$", part, re.MULTILINE)
    listed = {(role, method) for role, cells in rows for method in re.findall(r"`(\w+)`", cells)}
    words = {Role.NONE: "whoever is known"}
    served = {
        (words.get(role, role.word), path.rpartition("/")[2])
        for path, role in NEEDED.items()
        if path.startswith(OURS)
    }
    assert listed == served


def test_every_section_of_the_configuration_is_a_heading() -> None:
    for name in Config.model_fields:
        assert any(heading.startswith(f"[{name}") for heading in headings(OPERATIONS)), name


def test_every_metric_is_in_operations() -> None:
    names = set()
    for metric in list(registry._collector_to_names):
        described = next(iter(metric.collect()))
        names.add(described.name + ("_total" if isinstance(metric, Counter) else ""))
    assert set(first_column(section(OPERATIONS, "Logs and metrics"))) == names


def test_every_command_is_in_operations() -> None:
    listed = {
        code.removeprefix("cm ") for code in first_column(section(OPERATIONS, "The commands"))
    }
    assert listed == set(_commands())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_shown_is_one(page: object) -> None:
    text = page.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    shown = re.findall(r"^\$ (cm .+?)(?:  #.*| > .*)?$", "\n".join(blocks(text, "console")), re.M)
    shown += [code for code in codes(text) if code.startswith("cm ")]
    commands = _commands()
    for line in shown:
        words = shlex.split(line, comments=True)[1:]
        command = commands.get(words[0])
        assert command is not None, line
        if isinstance(command, click.Group) and words[1:]:
            found = command.commands.get(words[1])
            assert found is not None, line
            command = found
        known = {option for each in command.params for option in each.opts}
        for word in words[1:]:
            assert not word.startswith("--") or word.split("=")[0] in known, line


def test_the_sample_configuration_is_good() -> None:
    config = read_config(ROOT / "deploy" / "cmd-daemon.toml")
    assert len(config.facility) == 3
    plugins = Plugins.load(config.daemon.plugins, config.plugin)
    for facility in config.facility.values():
        for name, settings in facility.settings.items():
            if name == "agent":
                AgentSettings.model_validate(settings)
            else:
                plugins.drivers[name].settings.model_validate(settings)
        for kind, driver in facility.drivers.items():
            assert kind in plugins.drivers[driver].kinds
        assert facility.agent in plugins.agents
        assert set(facility.lanes) <= set(facility.drivers.values())


# --- the API -------------------------------------------------------------------------------------


def test_every_method_is_in_the_api() -> None:
    served = {
        (service.name, method.name)
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    rows = re.findall(r"^\| (\w+Service) \| (.+) \|$", API, re.MULTILINE)
    listed = {
        (service, method) for service, cells in rows for method in re.findall(r"`(\w+)`", cells)
    }
    assert listed == served


def _reasons() -> dict[str, set[str]]:
    """Reasons of the daemon's errors with their codes, read from the code."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "cmd_daemon" / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ApiError":
                code, reason = node.args[0], node.args[1]
                assert isinstance(code, ast.Attribute)
                assert isinstance(reason, ast.Constant)
                found.setdefault(str(reason.value), set()).add(code.attr)
    return found


def test_every_reason_is_in_the_api() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|.*\| `(\w+)` \|$", API, re.MULTILINE)
    assert {reason: {code} for reason, code, _ in rows} == _reasons()
    for reason, code, exception in rows:
        by_code = {key.name: kind for key, kind in client_errors._BY_CODE.items()}
        kind = client_errors._BY_REASON.get(reason) or by_code.get(code, client_errors.CmError)
        assert kind.__name__ == exception, reason


# --- concepts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heading", "moves"),
    [
        ("Campaign", states.CAMPAIGN_MOVES),
        ("Step", states.STEP_MOVES),
        ("Group", states.GROUP_MOVES),
        ("Job", states.JOB_MOVES),
    ],
)
def test_the_diagrams_are_the_transition_table(
    heading: str, moves: dict[StrEnum, frozenset[StrEnum]]
) -> None:
    part = section(text_of("concepts.md"), heading)
    drawn = re.findall(r"^    (\w+) --> (\w+)$", part, re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {(a.value, b.value) for a, following in moves.items() for b in following}
    listed = re.findall(r"^\| ([A-Z]+) \|", part, re.MULTILINE)
    assert sorted(listed) == sorted(state.value for state in moves)


def test_decisions_are_numbered_and_have_their_four_parts() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{n:04d}" for n in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert headings(text)[0].startswith(page.name[:4])
        assert headings(text)[1:] == ["Context", "Decision", "Why", "Consequences"]
        assert re.search(r"^Date: 20\d\d-\d\d\. Status: ", text, re.MULTILINE), page.name
