"""Who we are for a real Rucio: proxies and tokens over TLS, their end, and their renewal."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.x509.oid import NameOID
from live_identity import SecureServer
from live_setup import LiveWorld, eventually
from moving_setup import books, counts, scenario
from rucio_site import Site

from cmd_daemon.hooks import ErrorClass, Outcome
from cmd_daemon.testing.driver_contract import outcomes, submitted
from cmd_rucio_butler.driver import RucioDriver

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

DEADLINE_S = 90.0
HOUR = timedelta(hours=1)
PAST = timedelta(minutes=-5)
STRANGER = [(NameOID.COMMON_NAME, "somebody else")]


@pytest.fixture(scope="module")
def secure(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    """The site's Rucio by TLS."""
    with SecureServer(site, tmp_path_factory.mktemp("secure")) as server:
        yield server


def speak(world: LiveWorld, secure: SecureServer, **told: Any) -> None:
    """Have all facilities speak with that server, in this way."""
    for facility in world.facilities:
        world.set(
            facility, server=secure.url, ca=str(secure.authority.file), patience_s=0.5, **told
        )


async def registered(world: LiveWorld, driver: RucioDriver) -> Outcome:
    return await world.do(driver, world.order("keep-register", datasets=["zp"], at="USDF"))


@scenario("proxy")
async def test_a_proxy_is_taken_told_when_it_has_expired_and_renewed(
    world: LiveWorld, secure: SecureServer
) -> None:
    proxy = world.host.state_dir / "x509up"
    end = secure.authority.proxy(proxy, PAST)
    speak(world, secure, auth="x509_proxy", proxy=str(proxy))
    driver = await world.driver(patience_s=0.5)
    refused = await registered(world, driver)
    assert refused.error_class is ErrorClass.PERMANENT
    assert (
        f"Expired: facility FrDF: the proxy {proxy} has expired on {end:%Y-%m-%d %H:%M:%S} UTC "
        "(renew it, then retry)" in refused.message
    )
    secure.authority.proxy(proxy, HOUR)
    made = await registered(world, driver)
    assert made.ok, made.message
    assert counts(books(made)["FrDF", "USDF", "zp"]) == (4, 4, 0, 0)
    used = world.site.postgres.sql(
        "SELECT DISTINCT identity FROM dev.tokens WHERE token LIKE '%cmd robot%'"
    )
    assert used == "CN=cmd robot,O=Rubin", "the proxy's own name is left out"


@scenario("strangers")
async def test_a_proxy_of_somebody_unknown_is_refused(
    world: LiveWorld, secure: SecureServer
) -> None:
    proxy = world.host.state_dir / "x509up"
    secure.authority.proxy(proxy, HOUR, STRANGER)
    speak(world, secure, auth="x509_proxy", proxy=str(proxy))
    driver = await world.driver(patience_s=0.5)
    refused = await registered(world, driver)
    assert refused.error_class is ErrorClass.PERMANENT
    assert "CannotAuthenticate" in refused.message
    assert "renew the credentials that the section 'rucio' names" in refused.message


@scenario("tokens")
async def test_a_token_is_taken_told_when_it_has_expired_and_renewed(
    world: LiveWorld, secure: SecureServer
) -> None:
    file = world.host.state_dir / "token"
    token, end = secure.issuer.token(PAST)
    file.write_text(token)
    speak(world, secure, auth="oidc", token_file=str(file))
    driver = await world.driver(patience_s=0.5)
    refused = await registered(world, driver)
    assert refused.error_class is ErrorClass.PERMANENT
    assert (
        f"Expired: facility FrDF: the token in {file} has expired on {end:%Y-%m-%d %H:%M:%S} UTC "
        "(renew it, then retry)" in refused.message
    )
    file.write_text(secure.issuer.token(HOUR)[0])
    made = await registered(world, driver)
    assert made.ok, made.message
    assert counts(books(made)["FrDF", "USDF", "zp"]) == (4, 4, 0, 0)


@scenario("forged")
async def test_a_token_that_is_not_for_us_is_refused(
    world: LiveWorld, secure: SecureServer
) -> None:
    file = world.host.state_dir / "token"
    good, _ = secure.issuer.token(HOUR)
    head, claims, signature = good.split(".")
    other = secure.issuer.token(HOUR, sub="root")[0].split(".")[1]
    speak(world, secure, auth="oidc", token_file=str(file))
    for token in (
        secure.issuer.token(HOUR, aud="somebody")[0],
        secure.issuer.token(HOUR, sub="nobody")[0],
        f"{head}.{other}.{signature}",
    ):
        file.write_text(token)
        driver = await world.driver(patience_s=0.5)
        refused = await registered(world, driver)
        assert refused.error_class is ErrorClass.PERMANENT
        assert f"facility FrDF: the token in {file} is not valid (any more)" in refused.message
    file.write_text(f"{head}.{claims}.{signature}")
    made = await registered(world, driver)
    assert made.ok, made.message


@scenario("renewed")
async def test_a_token_that_expires_under_way_is_waited_for(
    world: LiveWorld, secure: SecureServer
) -> None:
    file = world.host.state_dir / "token"
    file.write_text(secure.issuer.token(HOUR)[0])
    speak(world, secure, auth="oidc", token_file=str(file))
    for facility in world.facilities:
        world.set(facility, patience_s=60.0)
    world.site.transfers.fault("out/renewed/make", hold=True)
    driver = await world.driver()
    made = await registered(world, driver)
    assert made.ok, made.message
    order = world.order("keep-transfer", datasets=["zp"], at="USDF")
    (ref,) = await submitted(driver, [order])
    await eventually(lambda: world.rules(world.dataset()) != [])
    file.write_text(secure.issuer.token(PAST)[0])
    looks = driver._shared().watch.looks
    world.site.transfers.clear()
    await eventually(lambda: driver._shared().watch.looks > looks + 2)
    (seen,) = await driver.observe([ref])
    assert seen.outcome is None, "it waits for whoever renews the token"
    await asyncio.to_thread(file.write_text, secure.issuer.token(HOUR)[0])
    outcome = (await outcomes(driver, [ref], DEADLINE_S))[order.key]
    assert outcome.ok, outcome.message
    assert len(world.rules(world.dataset())) == 1
