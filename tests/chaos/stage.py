"""Sets a scene: a frozen dispatch, a sandbox and a queue server of its own, and the settings of its processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app import queue
from app.cli.stack import Stack, free_port
from app.embedded.keys import ensure_keys
from app.registry import Registry
from messaging.types import Channel
from tests.chaos import ground
from tests.chaos.ground import Ground
from tests.chaos.harness import Scene
from tests.chaos.servers import private_valkey
from tests.conftest import Database

LEASE_SECONDS = 5


@contextmanager
def scene(
    database: Database,
    folder: Path,
    channel: Channel,
    *,
    recipients: int = 2_400,
    senders: int = 12,
    laid: Ground | None = None,
    receipts: bool = False,
    second: bool = False,
    **environ: str,
) -> Iterator[Scene]:
    """A frozen dispatch (``laid``, or made now), a sandbox, a Valkey of its own; everything ends with it."""
    local = Path(os.environ["LOCAL_DIR"])
    stack = Stack(folder / "processes", {})
    doorbell = queue._connection
    registry: Registry | None = None
    try:
        redis_url = private_valkey(stack)
        port = free_port()
        site = f"http://127.0.0.1:{port}"
        stack.environ |= database.environ() | ensure_keys(local) | {"HEADS_DIR": str(folder / "heads")}
        stack.environ |= {
            "REDIS_URL": redis_url,
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "PROVIDER_TIMEOUT_SECONDS": "2",
            "PUBLIC_URL": site,
            "WARDLINK_ENV": "test",
        } | environ
        flags = ["--receipts", "on" if receipts else "off", "--sender-rate", "100000", *["--second"] * second]
        sandbox = stack.sandbox(site, *flags)
        registry = database.open(REDIS_URL=redis_url, PUBLIC_URL=site, **sandbox.environ())
        laid = laid or ground.lay(registry, channel, recipients, senders)
        yield Scene(stack, sandbox, database, registry, channel, redis_url, laid, port, receipts)
    finally:
        stack.stop()
        if registry is not None:
            registry.engine.dispose()
        queue._connection = doorbell
