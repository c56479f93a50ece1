"""What a deployment is made of: the wheel, the locked packages, the files that the guide names."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "deploy" / "requirements.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, tuple[str, str]]:
    """The packages of the lock file by name: version, and what follows it."""
    found = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", LOCK.read_text()):
        head = re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", entry)
        if head:
            found[canonicalize_name(head[1])] = (head[2], entry)
    return found


def deployed() -> list[str]:
    """The extras in the lock file, by the Makefile."""
    made = re.search(r"^DEPLOYED := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert made
    return made[1].split()


def test_the_lock_file_fits_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(deployed()) == set(extras) - {"dev"}
    wanted = [*PROJECT["dependencies"], *(r for name in deployed() for r in extras[name])]
    packages = locked()
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in packages, f"{text}: make lock"
        assert requirement.specifier.contains(packages[name][0], prereleases=True), (
            f"{text}, locked is {packages[name][0]}: make lock"
        )


def test_each_locked_package_has_hashes_and_no_place_it_comes_from() -> None:
    packages = locked()
    assert len(packages) > len(PROJECT["dependencies"])
    for name, (_, entry) in packages.items():
        assert "--hash=sha256:" in entry, name
    text = LOCK.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_the_wheel_has_everything_the_commands_need(tmp_path: Path) -> None:
    """Built from the tree, put where nothing else of ours is, and run: the packages it needs come from the
    environment of the tests, without what that has of the project."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, *build, str(ROOT)], check=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    put = ["install", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([*pip, *put], check=True, timeout=110)
    # Without `site`, no .pth file leads back to the tree.
    paths = os.pathsep.join((str(site), sysconfig.get_path("purelib")))

    def told(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-S", *words],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": paths},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "replay" in told(str(site / "bin" / "cmd-daemon"), "--help")
    assert "campaigns" in told(str(site / "bin" / "cm"), "--help")
    where = (
        "import cmd_api.v1.campaign_pb2 as a, cmd_daemon.store as b; print(a.__file__, b.__file__)"
    )
    assert told("-c", where).split() == [
        str(site / "cmd_api" / "v1" / "campaign_pb2.py"),
        str(site / "cmd_daemon" / "store" / "__init__.py"),
    ]
    config = tmp_path / "cmd.toml"
    config.write_text((ROOT / "deploy" / "cmd-daemon.toml").read_text())
    assert "good" in told(str(site / "bin" / "cmd-daemon"), "check", "-c", str(config))
    for folder in ("cmd_daemon", "plugins", "clients", "proto/cmd_api"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                inside = file.relative_to(ROOT).as_posix()
                inside = re.sub("^(plugins|clients|proto)/", "", inside)
                assert (site / inside).exists() or file.name == "README.md", f"{inside} is left out"


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody_special() -> None:
    text = (ROOT / "deploy" / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER cmd$", last, re.MULTILINE)
    assert "--require-hashes" in text
    assert 'ENTRYPOINT ["cmd-daemon"]' in last


def test_the_guide_names_files_that_are_there() -> None:
    guide = (ROOT / "docs" / "deployment.md").read_text()
    for name in ("requirements.lock", "cmd-daemon.service", "cmd-daemon.toml"):
        assert name in guide
        assert (ROOT / "deploy" / name).exists()
    unit = (ROOT / "deploy" / "cmd-daemon.service").read_text()
    assert "ExecStart=/opt/cmd-daemon/bin/cmd-daemon" in unit
    assert "python3 -m venv /opt/cmd-daemon" in guide
