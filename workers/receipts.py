"""The job behind a ring for receipts: merge what the webhooks stored."""

from __future__ import annotations

import time
from functools import partial
from urllib.parse import parse_qsl

import structlog
from sqlalchemy.orm import Session

from app import queue
from app.db import AWAY
from app.services import inbound, receipts
from app.services.receipts import Merged, Parsed
from messaging.providers import sendgrid_hooks, twilio_hooks
from messaging.types import Keyword
from workers import runtime

log = structlog.get_logger(__name__)

MERGE_SECONDS = 30.0
PILE = "receipts"


def _sendgrid(body: str) -> Parsed:
    try:
        return Parsed(sendgrid_hooks.parse_events(body.encode()))
    except sendgrid_hooks.EventsError as error:
        return Parsed(problem=str(error))


def _twilio_status(body: str) -> Parsed:
    form = dict(parse_qsl(body, keep_blank_values=True))
    try:
        receipt = twilio_hooks.parse_status(form.pop("wl_ref", ""), form)
    except (twilio_hooks.HookError, ValueError) as error:
        return Parsed(problem=str(error))
    return Parsed([receipt] if receipt else [])


def _reckoning() -> inbound.Reckoning:
    settings = runtime.registry().settings
    return inbound.Reckoning(
        settings.public_url, settings.codes_pence_per_day, settings.sms_segment_pence, settings.sms_regions
    )


def _twilio_inbound(session: Session, reckoning: inbound.Reckoning | None, body: str) -> Parsed:
    form = dict(parse_qsl(body, keep_blank_values=True))
    try:
        message = twilio_hooks.parse_inbound(form)
    except (twilio_hooks.HookError, ValueError) as error:
        return Parsed(problem=str(error))
    try:
        with session.begin_nested():
            return Parsed(problem=inbound.receive(session, message, reckoning=reckoning))
    except AWAY:
        raise
    except Exception as error:
        if message.keyword is Keyword.STOP:  # no opt-out is ever set aside: it waits, and says so
            raise
        # One text that cannot be taken in must not hold up every STOP behind it. Nothing of it is kept but the raw
        # event, with its problem.
        log.error("inbound_failed", error=type(error).__name__)
        return Parsed(problem=f"failed: {type(error).__name__}")


def merge_some(session: Session, reckoning: inbound.Reckoning | None = None) -> Merged:
    """One transaction's worth of raw events; texts are answered where there is a ``reckoning``."""
    return receipts.merge(
        session,
        {
            "sendgrid": _sendgrid,
            "twilio-status": _twilio_status,
            "twilio-inbound": partial(_twilio_inbound, session, reckoning),
        },
    )


def merge() -> int:
    """Merge until nothing waits or 30 seconds are over; how many raw events."""
    queue.answered(PILE)
    return runtime.attempt(_merge)


def _merge() -> int:
    until = time.monotonic() + MERGE_SECONDS
    sessions = runtime.registry().sessions
    total = 0
    while time.monotonic() < until:
        with sessions.begin() as session:
            done = merge_some(session, _reckoning())
        with sessions.begin() as session:
            early = receipts.merge_early(session)
        total += done.events
        if done.problems:
            log.warning("receipts_unreadable", count=done.problems)
        # What was kept since rang again: to look once more for it would make many small merges of a large one.
        if not done.more and not early.moved:
            break
    return total
