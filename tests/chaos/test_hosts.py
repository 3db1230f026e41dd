"""Workers on several hosts share one PostgreSQL and one queue server, and nothing else."""

from __future__ import annotations

import pytest

from messaging.types import Channel
from tests.chaos.conftest import MakeScene
from tests.chaos.faults import hosts
from tests.chaos.needs import why_not

NEEDS = ("network namespaces",)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(bool(why_not(NEEDS)), reason=why_not(NEEDS))
def test_three_hosts_share_a_dispatch_and_nobody_hears_twice(make_scene: MakeScene, channel: Channel) -> None:
    scene = make_scene(channel, recipients=5_000, senders=25)
    hosts.many_hosts(scene)
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.frozen == scene.recipients
