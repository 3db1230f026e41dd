"""The queue server forgets everything; PostgreSQL is killed: both in mid-send."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from messaging.types import Channel
from tests.chaos.conftest import MakeScene
from tests.chaos.servers import flush, kill_postgres, private_cluster
from tests.chaos.stage import scene as make_a_scene

pytestmark = pytest.mark.chaos

FIRST = {Channel.EMAIL: 500, Channel.SMS: 600}


def test_a_flush_of_the_queue_server_in_mid_send_loses_nothing(
    make_scene: MakeScene, channel: Channel
) -> None:
    scene = make_scene(channel)
    scene.hold(FIRST[channel], "after")
    scene.worker()
    scene.scheduler()
    keys: list[int] = []
    scene.strike_when(lambda: True, lambda: keys.append(flush(scene.redis_url)), what="a flush")
    assert keys[0] > 0, "there was nothing to flush"
    scene.doubtful.clear()  # every worker lives: nobody may end in doubt
    scene.stop_some()
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.accepted == scene.recipients - verdict.stopped


def test_a_kill_of_postgresql_in_mid_send_loses_nothing(channel: Channel, tmp_path: Path) -> None:
    with private_cluster() as (database, folder), make_a_scene(database, tmp_path, channel) as scene:
        scene.hold(FIRST[channel], "after")
        scene.worker()
        scene.scheduler()
        strike = partial(kill_postgres, folder, meanwhile=scene.release)
        scene.strike_when(lambda: True, strike, what="a kill of PostgreSQL")
        scene.doubtful.clear()  # every worker lives, and reads its answers: nobody may end in doubt
        scene.finish()
        verdict = scene.verdict()
        assert not any(verdict.harms.values()), verdict
        assert verdict.accepted == scene.recipients
