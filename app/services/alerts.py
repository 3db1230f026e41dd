"""Drafting an alert: validated at the edge, nothing sent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.alerts import KINDS, URGENCIES, Alert
from app.models.organisations import Organisation
from app.services import audience
from app.services.errors import Invalid, Missing
from messaging import render

# No vowels, no 0/1/O/I/L: read out over a telephone, and spells nothing.
_ALPHABET = "23456789BCDFGHJKMNPQRSTVWXZ"
REFERENCE_LENGTH = 7
LONGEST_HEADLINE, LONGEST_BODY, LONGEST_SMS = 120, 10_000, 612


def new_reference() -> str:
    """A reference people can read out, like WL-7K3F9QX; 10 thousand million of them."""
    return "WL-" + "".join(secrets.choice(_ALPHABET) for _ in range(REFERENCE_LENGTH))


def draft(
    session: Session,
    *,
    controller: UUID,
    kind: str,
    urgency: str,
    topic: str,
    headline: str,
    body: str,
    audience_expression: Mapping[str, Any],
    channels: Sequence[str],
    actor: audit.Actor,
    what_to_do: str = "",
    sms_text: str = "",
    expires_at: datetime | None = None,
    restricted: bool = False,
) -> Alert:
    """A new draft. Raises Invalid naming the field, Missing for an unknown organisation."""
    if session.get(Organisation, controller) is None:
        raise Missing("There is no such organisation.")
    if kind not in KINDS:
        raise Invalid("kind", f"Choose one of these kinds: {', '.join(KINDS)}.")
    if urgency not in URGENCIES:
        raise Invalid("urgency", f"Choose one of: {', '.join(URGENCIES)}.")
    _text("headline", headline, LONGEST_HEADLINE)
    _text("body", body, LONGEST_BODY)
    _text("what_to_do", what_to_do, 1_000, required=False)
    _text("sms_text", sms_text, LONGEST_SMS, required=False)
    who = audience.parse(audience_expression, controller=controller, topic=topic, channels=channels)
    audience.require_known(session, who)
    alert = Alert(
        reference=new_reference(),
        controller_id=controller,
        kind=kind,
        urgency=urgency,
        topic=topic,
        headline=headline.strip(),
        body=body,
        what_to_do=what_to_do,
        sms_text=sms_text,
        channels=list(who.channels),
        audience=dict(audience_expression),
        restricted=restricted,
        expires_at=expires_at,
        created_by=actor.id or str(actor.kind),
    )
    _rehearse(alert)
    session.add(alert)
    session.flush()
    audit.record(
        session, event="alert:draft", subject=f"alert:{alert.id}", actor=actor, organisation=controller
    )
    return alert


def by_reference(session: Session, reference: str) -> Alert:
    """An alert by the reference printed in its messages, however it was typed; Missing otherwise."""
    wanted = "".join(reference.upper().split()).removeprefix("WL").lstrip("-")
    if len(wanted) == REFERENCE_LENGTH and set(wanted) <= set(_ALPHABET):
        found = session.scalar(sa.select(Alert).where(Alert.reference == f"WL-{wanted}"))
        if found is not None:
            return found
    raise Missing("There is no alert with this reference.")


def _text(field: str, value: str, longest: int, *, required: bool = True) -> None:
    label = field.replace("_", " ").replace("sms", "text message")
    if required and not value.strip():
        raise Invalid(field, f"Enter the {label}.")
    if len(value) > longest:
        raise Invalid(field, f"The {label} must be {longest:,} characters or fewer.")
    if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise Invalid(field, f"The {label} holds a character that cannot be sent.")


def _rehearse(alert: Alert) -> None:
    """Render once, so that what cannot be sent is refused while somebody can still mend it."""
    try:
        render.compile_email(
            nonce="0" * 12,
            headline=alert.headline,
            body_markdown=alert.body,
            what_to_do=alert.what_to_do,
            reference=alert.reference,
            controller_name="",
            from_email="",
            from_name="",
        )
    except render.RenderError as error:
        raise Invalid("body", error.message) from None
    try:
        render.compile_sms(alert.sms_text or alert.headline, alert.reference, "", two_way=True)
    except render.RenderError as error:
        raise Invalid("sms_text" if alert.sms_text else "headline", error.message) from None
