"""Hatchling's build hook: generates the package `cmd_api` from the contract in proto/cmd_api.

Also a script, for `make proto`. Messages and stubs land beside the .proto files and stay out of git:
the .proto files are the one truth.
"""

import os
import sys
from pathlib import Path
from typing import Any

PROTO = Path(__file__).parent


def generate() -> None:
    """Write `*_pb2.py`, `*_pb2_grpc.py` and their type stubs. Raises RuntimeError if protoc fails."""
    from grpc_tools import _proto, protoc

    # protoc looks for its plugins on the path, where an environment that is not activated is not.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("cmd_api/**/*.proto"))
    for kind in ("python", "grpc_python", "mypy", "mypy_grpc"):
        arguments = [
            "protoc",
            f"-I{PROTO}",
            f"-I{Path(_proto.__file__).parent}" if _proto.__file__ else f"-I{_proto.__path__[0]}",
            f"--{kind}_out={PROTO}",
            *files,
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc failed for --{kind}_out over {', '.join(files)}")
    for folder in (PROTO / "cmd_api", PROTO / "cmd_api" / "v1"):
        (folder / "py.typed").touch()


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, without hatchling
    pass
else:

    class ProtoBuildHook(BuildHookInterface[Any]):
        """Generates before every wheel and editable install."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Called by hatchling before it collects files."""
            generate()


if __name__ == "__main__":
    generate()
