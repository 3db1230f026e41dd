"""What the scheduler judges for all workers: which provider is down, and whose bulk mail is held."""

from __future__ import annotations

from app import providers
from app.registry import Registry
from app.services import brake, routes
from messaging.types import Channel

BRAKE_TICKS = 10


def judge(registry: Registry, tick: int) -> None:
    """Look at the providers at each tick, at complaints and bounces at each tenth; commit."""
    configured = providers.names(registry.settings)
    with registry.sessions.begin() as session:
        routes.evaluate(session, configured)
    if tick % BRAKE_TICKS == 0:
        with registry.sessions.begin() as session:
            brake.check(session, configured[Channel.EMAIL])
