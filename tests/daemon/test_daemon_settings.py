"""What the configuration says of the database, and what `cmd-daemon check` tells of it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from cmd_daemon.__main__ import main
from cmd_daemon.config import ConfigError, read_config

URL = "postgresql+asyncpg://cmd@db.example:5433/cmd"


def file(tmp_path: Path, *lines: str) -> Path:
    """A configuration with these lines in [daemon]."""
    path = tmp_path / "cmd.toml"
    path.write_text("\n".join(["[daemon]", f'state_dir = "{tmp_path}"', *lines]))
    return path


def checked(path: Path, code: int = 0) -> str:
    """What `cmd-daemon check` prints."""
    done = CliRunner().invoke(main, ["check", "-c", str(path)])
    assert done.exit_code == code, done.output
    return done.output


def test_check_tells_which_database_it_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert f"SQLite, {tmp_path}/cmd.db" in checked(file(tmp_path))
    told = checked(file(tmp_path, f'database = "{URL}"'))
    assert "PostgreSQL, db.example:5433/cmd, as cmd" in told
    assert "PGPASSWORD" in told
    assert "hunter2" not in told
    told = checked(file(tmp_path, f'database = "{URL}"', 'database_password_file = "/x/y"'))
    assert "password from /x/y" in told


def test_a_relative_password_file_is_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/cmd-daemon.service")
    config = read_config(file(tmp_path, 'database_password_file = "db"'))
    assert config.daemon.password_file == Path("/run/credentials/cmd-daemon.service/db")
    assert read_config(file(tmp_path)).daemon.password_file is None


def test_a_password_in_the_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = file(tmp_path, f'database = "{URL.replace("cmd@", "cmd:hunter2@")}"')
    with pytest.raises(ConfigError, match="database_password_file") as caught:
        read_config(path)
    assert "daemon.database" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mysql://x/y", "mysql"),
        (f"{URL}?sslmode=require", "sslmode"),
        ("sqlite+aiosqlite://", "file"),
    ],
)
def test_a_url_that_cannot_be_used(tmp_path: Path, url: str, word: str) -> None:
    assert word in checked(file(tmp_path, f'database = "{url}"'), code=1)
