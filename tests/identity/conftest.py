import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "api"))

from api_house import House, config, serving
from identity_house import Ports, identity, with_ports
from identity_issuer import Issuer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An issuer of tokens."""
    with Issuer() as made:
        yield made


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    """The daemon's TCP ports."""
    return Ports(tmp_path / "tls")


@pytest.fixture(scope="session")
def campaign_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory to copy: of a daemon with the campaign `camp` at its breakpoint."""
    import asyncio

    root = tmp_path_factory.mktemp("identity")

    async def make() -> None:
        async with serving(config(root)) as house:
            await house.prepare()

    asyncio.run(make())
    return root / "state"


@pytest.fixture
async def guarded(
    tmp_path: Path, campaign_state: Path, issuer: Issuer, ports: Ports
) -> AsyncIterator[House]:
    """A daemon with `camp` that serves its ports."""
    shutil.copytree(campaign_state, tmp_path / "state")
    settings = with_ports(config(tmp_path), ports, identity=identity(issuer))
    async with serving(settings) as made:
        yield made
