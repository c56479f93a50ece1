"""A real daemon with a Unix socket and TCP ports, and callers with tokens and certificates."""

from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from api_house import error_info
from certificates import Authority
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from identity_issuer import AUDIENCE, CLIENT, Issuer
from services.processes import free_port

from cmd_daemon.api.errors import ApiError
from cmd_daemon.config import Config

DEADLINE_S = 20.0
ROLES = {"viewer": "rubin", "pilot": "rubin/pilots", "admin": "rubin/admins"}
OPS = "CN=ops"


def identity(issuer: Issuer, **more: Any) -> dict[str, Any]:
    """The section `[identity]` with tokens of this issuer, and the certificate of `ops`."""
    return {
        "oidc": {
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "roles": ROLES,
            "client_id": CLIENT,
            "scope": "openid",
        },
        "certificates": {"roles": {"admin": OPS}},
        **more,
    }


class Ports:
    """Two free TCP ports, for tokens and for certificates, and the files of their TLS."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.certificate, self.key = self.authority.issue("server")
        self.tokens, self.certificates = free_port(), free_port()

    def sections(self) -> dict[str, Any]:
        """The sections `[listen.NAME]`."""
        tls = {"certificate": self.certificate, "key": self.key}
        return {
            "tokens": {"address": f"127.0.0.1:{self.tokens}", "clients": "tokens", **tls},
            "certificates": {
                "address": f"127.0.0.1:{self.certificates}",
                "clients": "certificates",
                "client_ca": self.authority.file,
                **tls,
            },
        }

    def with_token(self, token: str) -> "Caller":
        """A caller on the port for tokens; without one if it is empty."""
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        made = grpc.ssl_channel_credentials(self.authority.file.read_bytes())
        return Caller(f"127.0.0.1:{self.tokens}", made, metadata)

    def with_certificate(self, name: str, authority: Authority | None = None) -> "Caller":
        """A caller on the port for certificates."""
        certificate, key = (authority or self.authority).issue(name)
        made = grpc.ssl_channel_credentials(
            self.authority.file.read_bytes(), key.read_bytes(), certificate.read_bytes()
        )
        return Caller(f"127.0.0.1:{self.certificates}", made, ())


class Caller:
    """Calls methods raw. `async with` it."""

    def __init__(self, target: str, made: grpc.ChannelCredentials, metadata: Any) -> None:
        self.metadata = metadata
        self.channel = grpc.aio.secure_channel(target, made)

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.channel.close()

    async def raw(self, method: MethodDescriptor, **fields: Any) -> Any:
        """Call a method; the answer, or the first message of a stream."""
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        answer = message_factory.GetMessageClass(method.output_type)
        path = f"/{method.containing_service.full_name}/{method.name}"
        data = request.SerializeToString()
        more = {"timeout": DEADLINE_S, "metadata": self.metadata}
        if not method.server_streaming:
            call = self.channel.unary_unary(path, response_deserializer=answer.FromString)
            return await call(data, **more)
        opened = self.channel.unary_stream(path, response_deserializer=answer.FromString)
        stream = opened(data, **more)
        first = await stream.read()
        stream.cancel()
        return first


class refusing:
    """Fails unless the block ends with this refusal, over the wire or not; its words come into the list."""

    def __init__(self, reason: str, code: grpc.StatusCode | None = None) -> None:
        self._reason, self._code = reason, code
        self._words: list[str] = []

    async def __aenter__(self) -> list[str]:
        return self._words

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> bool:
        assert error is not None, f"it was not refused with {self._reason}"
        if isinstance(error, grpc.RpcError):
            assert error_info(error).reason == self._reason, error.details()
            assert error.code() == self._code, error.details()
            self._words.append(error.details())
            return True
        assert isinstance(error, ApiError), error
        assert error.reason == self._reason
        self._words.append(str(error))
        return True


def with_ports(settings: Config, ports: Ports, **sections: Any) -> Config:
    """The settings of a daemon with these ports."""
    whole = settings.model_dump()
    return Config.model_validate({**whole, "listen": ports.sections(), **sections})
