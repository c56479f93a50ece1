"""Client certificates over a real port with TLS, and what is never served."""

import os
import socket
from pathlib import Path

import grpc
import pytest
from api_house import House
from certificates import Authority
from identity_house import OPS, Ports, refusing
from identity_issuer import Issuer
from test_identity_roles import the


async def test_the_subject_of_a_certificate_says_who(guarded: House, ports: Ports) -> None:
    async with ports.with_certificate("ops") as caller:
        told = await caller.raw(the("GetCaller"))
        assert (told.who, told.proof, told.role) == (OPS, "certificate", "admin")
        await caller.raw(the("DrainFacility"), name="facilities/USDF", reason="test")
    assert (await guarded.client.get_facility("facilities/USDF")).actor == OPS


async def test_a_subject_without_a_role_may_nothing(guarded: House, ports: Ports) -> None:
    async with ports.with_certificate("opsi") as caller:
        assert (await caller.raw(the("GetCaller"))).role == ""
        async with refusing("MISSING_ROLE", grpc.StatusCode.PERMISSION_DENIED) as words:
            await caller.raw(the("ListCampaigns"))
    assert "CN=opsi" in words[0]


async def test_other_certificates_do_not_come_in(
    guarded: House, ports: Ports, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger")
    async with ports.with_certificate("ops", stranger) as caller:
        with pytest.raises(grpc.RpcError) as refused:
            await caller.raw(the("GetCaller"))
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    bare = grpc.ssl_channel_credentials(ports.authority.file.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{ports.certificates}", bare) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            await channel.unary_unary("/cmd_api.v1.DaemonService/GetCaller")(b"", timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    await guarded.healthy()


async def test_a_token_does_not_replace_the_certificate(
    guarded: House, ports: Ports, issuer: Issuer
) -> None:
    async with ports.with_certificate("ops") as caller:
        caller.metadata = (("authorization", f"Bearer {issuer.token('ann')}"),)
        assert (await caller.raw(the("GetCaller"))).who == OPS


async def test_without_tls_there_is_no_word(guarded: House, ports: Ports) -> None:
    for port in (ports.tokens, ports.certificates):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.RpcError) as refused:
                await channel.unary_unary("/cmd_api.v1.DaemonService/GetCaller")(b"", timeout=20)
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            answer = b""
            while True:
                try:
                    got = plain.recv(100)
                except ConnectionError:
                    break
                if not got:
                    break
                answer += got
        assert b"HTTP" not in answer


async def test_a_renewed_certificate_is_served_without_a_restart(
    guarded: House, ports: Ports, issuer: Issuer, tmp_path: Path
) -> None:
    renewed = Authority(tmp_path / "renewed")
    fresh, key = renewed.issue("server")
    former = ports.certificate.stat().st_mtime
    for new, old in ((key, ports.key), (fresh, ports.certificate)):
        os.utime(new, (former + 10, former + 10))
        new.replace(old)
    token = issuer.token("ann")
    ports.authority.file = renewed.file
    async with ports.with_token(token) as caller:
        assert (await caller.raw(the("GetCaller"))).who == "ann"
    # What cannot be used is not: the former one is kept.
    ports.certificate.write_text("nonsense")
    async with ports.with_token(token) as caller:
        assert (await caller.raw(the("GetCaller"))).who == "ann"
