"""A sandbox in a thread of this process, for tests and programs that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig


@contextmanager
def running(config: SandboxConfig) -> Iterator[Sandbox]:
    """A started sandbox; stopped at the end. What kept it from starting is raised here."""
    ready = threading.Event()
    failure: list[BaseException] = []
    made: list[tuple[Sandbox, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def live() -> None:
        sandbox = Sandbox(config)
        await sandbox.start()
        enough = asyncio.Event()
        made.append((sandbox, asyncio.get_running_loop(), enough))
        ready.set()
        await enough.wait()
        await sandbox.stop()

    def work() -> None:
        try:
            asyncio.run(live())
        except BaseException as error:
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="sandbox", daemon=True)
    thread.start()
    ready.wait()
    if not made:
        raise failure[0]
    sandbox, loop, enough = made[0]
    try:
        yield sandbox
    finally:
        loop.call_soon_threadsafe(enough.set)
        thread.join()
    if failure:
        raise failure[0]
