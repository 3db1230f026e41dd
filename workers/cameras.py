"""The job that looks after requests to owners: sent, reminded, ended, thanked."""

from __future__ import annotations

import structlog

from app import queue
from app.db import AWAY, utc_now
from app.errors import ServiceError
from app.services.budgets.allowances import Prices
from app.services.register import sending, telling
from app.services.register.requests import PILE
from workers import runtime

log = structlog.get_logger(__name__)

EVERY_TICKS = 15


def tend() -> int:
    """Everything that is due; to do it again finds nothing. How many requests were sent."""
    queue.answered(PILE)
    return runtime.attempt(_tend)


def _tend() -> int:
    registry = runtime.registry()
    transaction, settings = registry.sessions.begin, registry.settings
    prices = Prices(settings.sms_segment_pence, settings.email_pence)
    with transaction() as session:
        waiting = sending.pending(session, now=utc_now())
    sent = 0
    for request in waiting:
        try:
            with transaction() as session:
                sending.send(session, request, public_url=settings.public_url, prices=prices, now=utc_now())
            sent += 1
        except AWAY:
            raise
        except ServiceError as error:  # no sender, or over a limit: tried again until its time is over
            log.warning("camera_request_waits", request=str(request), why=error.code)
        except Exception:  # one that cannot be sent must stop no other
            log.exception("camera_request_failed", request=str(request))
    with transaction() as session:
        sending.expire(session, now=utc_now())
    for tell in (telling.remind, telling.thank) if telling.by_day(utc_now()) else ():
        while True:
            with transaction() as session:
                if not tell(session, signer=registry.signer, public_url=settings.public_url, now=utc_now()):
                    break
    return sent
