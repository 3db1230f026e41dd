"""What the clock does to watch those who search the register: findings, the monthly draw, reminders, figures."""

from __future__ import annotations

import structlog

from app.db import utc_now
from app.services.register import drawing, places, watchers
from app.services.register import watching as rules
from workers import runtime

log = structlog.get_logger(__name__)


def watch() -> None:
    """Everything that is due, each organisation in a transaction of its own; to do it again finds nothing new."""
    sessions, url = runtime.registry().sessions, runtime.registry().settings.public_url
    with sessions.begin() as session:
        organisations = rules.organisations(session)
    for organisation in organisations:
        with sessions.begin() as session:
            found = rules.look(session, organisation, public_url=url, now=utc_now())
            drawn = drawing.draw(session, organisation, now=utc_now())
            watchers.unheard(session, organisation, now=utc_now())
        if found or drawn:
            log.info("register_watched", organisation=str(organisation), findings=found, drawn=drawn)
    with sessions.begin() as session:
        drawing.remind(session, public_url=url, now=utc_now())
    while True:
        with sessions.begin() as session:
            if places.place(session, now=utc_now()) < places.MOST:
                break
    with sessions.begin() as session:
        places.count(session, now=utc_now())
