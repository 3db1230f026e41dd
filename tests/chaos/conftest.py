"""What every chaos case stands on: a scene maker over a database of the case's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from messaging.types import Channel
from tests.chaos.harness import Scene
from tests.chaos.stage import scene
from tests.conftest import Database

MakeScene = Callable[..., Scene]


@pytest.fixture(params=[Channel.EMAIL, Channel.SMS], ids=str)
def channel(request: pytest.FixtureRequest) -> Channel:
    found: Channel = request.param
    return found


@pytest.fixture
def make_scene(committed: Database, tmp_path: Path) -> Iterator[MakeScene]:
    """Makes the one scene of a test; its processes end before its database does."""
    with ExitStack() as ends:

        def make(channel: Channel, **options: Any) -> Scene:
            return ends.enter_context(scene(committed, tmp_path, channel, **options))

        yield make
