"""Bearer tokens over a real port with TLS: who is let in, and what the others are told."""

import asyncio
import hmac
import json
import time
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from api_house import House, path_of, until
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from identity_house import DEADLINE_S, ROLES, Ports, refusing
from identity_issuer import Issuer
from test_identity_roles import the

from cm_client import AsyncClient, CmError, Credentials, NotAuthenticated
from cmd_daemon.api.identity import gate
from cmd_daemon.api.identity import keys as keys_room
from cmd_daemon.api.identity.keys import PAUSE_S, Keys

CAMP = "campaigns/camp"
UNPROVED = grpc.StatusCode.UNAUTHENTICATED


async def whoami(ports: Ports, token: str) -> Any:
    """What the daemon says of the token's owner."""
    async with ports.with_token(token) as caller:
        return await caller.raw(the("GetCaller"))


async def test_a_token_says_who_and_what_role(guarded: House, issuer: Issuer, ports: Ports) -> None:
    token = issuer.token("ann", ROLES["viewer"], ROLES["pilot"])
    told = await whoami(ports, token)
    assert (told.who, told.proof, told.role) == ("ann", "token", "pilot")
    assert list(told.groups) == [ROLES["viewer"], ROLES["pilot"]]
    assert told.expire_time.ToSeconds() > time.time() + 3000
    assert told.peer.startswith("ipv4:127.0.0.1:")
    wlcg = issuer.token(
        "ann", preferred_username=None, groups=None, **{"wlcg.groups": [ROLES["admin"]]}
    )
    told = await whoami(ports, wlcg)
    assert (told.who, told.role) == ("sub-of-ann", "admin")


async def test_what_a_caller_claims_beside_the_token_counts_for_nothing(
    guarded: House, issuer: Issuer, ports: Ports
) -> None:
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as caller:
        caller.metadata = (*caller.metadata, ("x-cmd-actor", "boss"))
        assert (await caller.raw(the("GetCaller"))).who == "ann"
        await caller.raw(the("PauseCampaign"), name="campaigns/camp", reason="look")
    events = (await guarded.client.list_events("campaigns/camp", newest_first=True)).events
    assert events[0].actor == "ann"


@pytest.mark.parametrize(
    ("claims", "reason", "said"),
    [
        ({"exp": int(time.time()) - 60}, "TOKEN_EXPIRED", "is over"),
        ({"aud": "another"}, "WRONG_AUDIENCE", "meant for another"),
        ({"aud": None}, "WRONG_AUDIENCE", "meant for nobody"),
        ({"iss": "https://evil.example"}, "WRONG_ISSUER", "from https://evil.example"),
        ({"iss": None}, "WRONG_ISSUER", "from nobody"),
        ({"exp": None}, "BAD_TOKEN", "exp"),
        ({"nbf": int(time.time()) + 3600}, "BAD_TOKEN", "ImmatureSignatureError"),
        ({"sub": None, "preferred_username": None}, "BAD_TOKEN", "none of the claims"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
async def test_a_wrong_token_is_told_what_is_wrong(
    guarded: House, issuer: Issuer, ports: Ports, claims: Any, reason: str, said: str
) -> None:
    token = issuer.token("ann", ROLES["admin"], **claims)
    async with refusing(reason, UNPROVED) as words:
        await whoami(ports, token)
    assert said in words[0]
    assert "cm login" in words[0]
    assert token not in words[0]


async def test_a_token_just_over_is_taken(guarded: House, issuer: Issuer, ports: Ports) -> None:
    told = await whoami(ports, issuer.token("ann", exp=int(time.time()) - 5))
    assert told.who == "ann"


async def test_forged_tokens_are_refused(guarded: House, issuer: Issuer, ports: Ports) -> None:
    good = jwt.decode(issuer.token("ann", ROLES["admin"]), options={"verify_signature": False})
    named = {"kid": issuer.kid}
    public = issuer.keys[issuer.kid].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    by_secret = jwt.encode(good, "x" * 32, algorithm="HS256", headers=named).rpartition(".")[0]
    tag = jwt.utils.base64url_encode(hmac.digest(pem, by_secret.encode(), "sha256")).decode()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signed = issuer.token("ann", "nothing")
    head, _, tail = signed.split(".")
    body = jwt.utils.base64url_encode(json.dumps(good).encode()).decode()
    forged = {
        "none": jwt.encode(good, None, algorithm="none", headers=named),
        "public key as a secret": f"{by_secret}.{tag}",
        "another key": jwt.encode(good, other, algorithm="RS256", headers=named),
        "another hash": jwt.encode(good, issuer.keys[issuer.kid], algorithm="RS512", headers=named),
        "other claims": f"{head}.{body}.{tail}",
        "no token": "xyz",
        "long": "x" * 40_000,
        "binary": "ey.~.=",
    }
    for token in forged.values():
        async with refusing("BAD_TOKEN", UNPROVED):
            await whoami(ports, token)
    async with refusing("UNKNOWN_KEY", UNPROVED):
        await whoami(ports, jwt.encode(good, other, algorithm="RS256", headers={"kid": "mine"}))
    async with refusing("UNKNOWN_KEY", UNPROVED):
        await whoami(ports, jwt.encode(good, other, algorithm="RS256"))


async def test_other_ways_to_send_a_token(guarded: House, issuer: Issuer, ports: Ports) -> None:
    token = issuer.token("ann")
    for text, good in (
        (f"bearer {token}", True),
        (f"Basic {token}", False),
        (token, False),
        ("Bearer ", False),
    ):
        async with ports.with_token("") as caller:
            caller.metadata = (("authorization", text),)
            if good:
                assert (await caller.raw(the("GetCaller"))).who == "ann"
            else:
                async with refusing("NO_CREDENTIALS", UNPROVED):
                    await caller.raw(the("GetCaller"))


# --- the issuer's keys ---------------------------------------------------------------------------


async def test_keys_are_kept_and_new_ones_found(
    guarded: House, issuer: Issuer, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_room, "PAUSE_S", 0.0)
    for _ in range(5):
        await whoami(ports, issuer.token())
    assert issuer.fetched == 1
    former = issuer.token()
    issuer.rotate()
    assert (await whoami(ports, issuer.token())).who == "ann"
    assert issuer.fetched == 2
    assert (await whoami(ports, former)).who == "ann"
    issuer.down = True
    assert (await whoami(ports, issuer.token())).who == "ann"


async def test_an_issuer_that_is_away_is_named(
    guarded: House, issuer: Issuer, ports: Ports
) -> None:
    issuer.down = True
    async with refusing("ISSUER_UNREACHABLE", grpc.StatusCode.UNAVAILABLE) as words:
        await whoami(ports, issuer.token())
    assert issuer.url in words[0]
    assert "503" in words[0]
    await guarded.healthy()


class _Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


async def test_made_up_keys_do_not_press_the_issuer(issuer: Issuer) -> None:
    clock = _Clock()
    keys = Keys(issuer.url, None, 5.0, clock)
    try:
        await keys.key(issuer.kid)
        clock.at += PAUSE_S + 1
        for number in range(50):
            async with refusing("UNKNOWN_KEY"):
                await keys.key(f"made-up-{number}")
        assert issuer.fetched == 2
        clock.at += PAUSE_S + 1
        async with refusing("UNKNOWN_KEY"):
            await keys.key("made-up")
        assert issuer.fetched == 3
    finally:
        await keys.close()


async def test_a_withdrawn_key_is_not_trusted_for_long(issuer: Issuer) -> None:
    clock = _Clock()
    keys = Keys(issuer.url, None, 5.0, clock)
    try:
        former = issuer.kid
        await keys.key(former)
        issuer.rotate(forget=True)
        await keys.key(former)
        clock.at += keys_room.FRESH_S + 1
        async with refusing("UNKNOWN_KEY"):
            await keys.key(former)
        issuer.down = True
        clock.at += keys_room.FRESH_S + 1
        await keys.key(issuer.kid)
        clock.at += keys_room.STALE_S
        async with refusing("ISSUER_UNREACHABLE"):
            await keys.key(issuer.kid)
    finally:
        await keys.close()


async def test_a_discovery_document_of_another_issuer_is_not_used(issuer: Issuer) -> None:
    keys = Keys(issuer.url.rstrip("/"), None, 5.0)
    try:
        async with refusing("ISSUER_UNREACHABLE") as words:
            await keys.key(issuer.kid)
        assert "its discovery document is that of" in words[0]
    finally:
        await keys.close()


# --- streams and limits --------------------------------------------------------------------------


async def test_a_client_goes_on_watching_with_a_renewed_token(
    guarded: House,
    issuer: Issuer,
    ports: Ports,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "token"
    kept.write_text(issuer.token("ann", ROLES["viewer"]))
    seen: list[int] = []
    lost: list[str] = []
    begun = asyncio.Event()
    last = (await guarded.client.get_daemon()).last_seq

    def renew(error: CmError, wait: float) -> None:
        lost.append(error.reason)
        monkeypatch.undo()
        kept.write_text(issuer.token("ann", ROLES["viewer"]))

    async def watch(client: AsyncClient) -> None:
        async for batch in client.watch_events(CAMP, kinds=["campaign"], on_lost=renew):
            begun.set()
            seen.extend(event.seq for event in batch.events)

    proof = Credentials(ca=ports.authority.file, token_file=kept)
    async with AsyncClient(f"127.0.0.1:{ports.tokens}", credentials=proof) as client:
        watching = asyncio.create_task(watch(client))
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        monkeypatch.setattr(gate, "wall", lambda: time.time() + 7200)
        await guarded.client.pause_campaign(CAMP)
        await until(lambda: lost, "the end of the token")
        await guarded.client.resume_campaign(CAMP)
        told = (
            await guarded.client.list_events(CAMP, kinds=["campaign"], newest_first=True)
        ).events
        made = [event.seq for event in told if event.seq > last][::-1]
        await until(lambda: seen == made or watching.done(), "all events, none twice")
        assert not watching.done()
        assert lost == ["TOKEN_EXPIRED"]
        watching.cancel()
        # Without a new one it ends.
        kept.write_text(issuer.token("ann", ROLES["viewer"], exp=int(time.time()) - 60))
        with pytest.raises(NotAuthenticated):
            await watch(client)


async def test_a_watch_ends_with_its_token(
    guarded: House, issuer: Issuer, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ports.with_token(issuer.token("ann", ROLES["pilot"])) as caller:
        watch: Any = caller.channel.unary_stream(path_of(the("WatchEvents")))
        stream = watch(b"", metadata=caller.metadata, timeout=DEADLINE_S)
        await stream.read()
        monkeypatch.setattr(gate, "wall", lambda: time.time() + 7200)
        await guarded.client.pause_campaign(CAMP)
        await stream.read()
        async with refusing("TOKEN_EXPIRED", UNPROVED) as words:
            await stream.read()
        assert "this stream" in words[0]
