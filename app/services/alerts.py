"""An alert until it is sent: drafted, changed, discarded; validated at the edge."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Required, TypedDict, Unpack
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.alerts import KINDS, URGENCIES, Alert
from app.models.organisations import Organisation
from app.services import audience
from messaging import render

# No vowels, no 0/1/O/I/L: read out over a telephone, and spells nothing.
_ALPHABET = "23456789BCDFGHJKMNPQRSTVWXZ"
REFERENCE_LENGTH = 7
LONGEST_HEADLINE, LONGEST_BODY, LONGEST_SMS = 120, 10_000, 612
# Twilio takes 1,600 characters; the organisation's name, the links and the way to stop need some of them.
LONGEST_FILLED = 1_200
LONGEST_TO_DO, LONGEST_TO_TELL = 1_000, 500


def new_reference() -> str:
    """A reference people can read out, like WL-7K3F9QX; 10 thousand million of them."""
    return "WL-" + "".join(secrets.choice(_ALPHABET) for _ in range(REFERENCE_LENGTH))


class Words(TypedDict, total=False):
    """What an officer decides about an alert."""

    kind: Required[str]
    urgency: Required[str]
    topic: Required[str]
    headline: Required[str]
    body: Required[str]
    audience_expression: Required[Mapping[str, Any]]
    channels: Required[Sequence[str]]
    what_to_do: str
    how_to_tell: str
    sms_text: str
    expires_at: datetime | None
    restricted: bool


def area_of(alert: Alert | None) -> str | None:
    """The one area that an alert is for, as the record says it; none, when it is for several."""
    codes = alert.audience.get("areas", []) if alert else []
    return codes[0] if len(codes) == 1 else None


def draft(
    session: Session,
    *,
    controller: UUID,
    actor: audit.Actor,
    team: UUID | None = None,
    **words: Unpack[Words],
) -> Alert:
    """A new draft. Raises Invalid naming the field, Missing for an unknown organisation.

    ``team``: whose inbox the replies land in; without one, the organisation's.
    """
    if session.get(Organisation, controller) is None:
        raise Missing("There is no such organisation.")
    alert = Alert(
        reference=new_reference(),
        controller_id=controller,
        team_id=team,
        created_by=actor.id or str(actor.kind),
        **_checked(session, controller, words),
    )
    _rehearse(alert)
    session.add(alert)
    session.flush()
    audit.record(
        session,
        event="alert:draft",
        subject=f"alert:{alert.id}",
        actor=actor,
        organisation=controller,
        area=area_of(alert),
    )
    return alert


def change(
    session: Session, alert: Alert, *, seen: datetime, actor: audit.Actor, **words: Unpack[Words]
) -> None:
    """Write a draft anew. ``seen``: its ``changed_at`` when whoever writes last saw it.

    Raises Invalid, or Conflict when somebody else changed or sent it meanwhile; then nothing is changed.
    """
    _lock(session, alert)
    if alert.state != "draft":
        raise Conflict("This alert has been sent, so it can no longer be changed.")
    if alert.changed_at != seen:
        raise Conflict("Somebody else has changed this alert since you opened it.")
    fields = _checked(session, alert.controller_id, words)
    _rehearse(Alert(reference=alert.reference, **fields))
    for name, value in fields.items():
        setattr(alert, name, value)
    # The clock may stand still, or go back; whoever saw the alert before must notice.
    alert.changed_at = max(utc_now(), alert.changed_at + timedelta(microseconds=1))
    session.flush()
    audit.record(
        session,
        event="alert:alter",
        subject=f"alert:{alert.id}",
        actor=actor,
        organisation=alert.controller_id,
        area=area_of(alert),
    )


def discard(session: Session, alert: Alert, *, actor: audit.Actor) -> None:
    """Throw a draft away. Conflict when it was sent."""
    _lock(session, alert)
    if alert.state != "draft":
        raise Conflict("This alert has been sent, so it can no longer be discarded.")
    session.delete(alert)
    session.flush()
    audit.record(
        session,
        event="alert:discard",
        subject=f"alert:{alert.id}",
        actor=actor,
        organisation=alert.controller_id,
        area=area_of(alert),
    )


def _lock(session: Session, alert: Alert) -> None:
    """The alert as it is now, and ours until the end; Conflict when somebody has discarded it meanwhile."""
    wanted = sa.select(Alert).where(Alert.id == alert.id).with_for_update()
    if session.scalar(wanted.execution_options(populate_existing=True)) is None:
        raise Conflict("Somebody else has discarded this alert.")


def of_organisation(session: Session, alert_id: UUID, controller: UUID) -> Alert:
    """An alert by id, if it is this organisation's; Missing otherwise."""
    found = session.get(Alert, alert_id)
    if found is None or found.controller_id != controller:
        raise Missing("There is no such alert.")
    return found


def listed(
    session: Session, controller: UUID, state: str, *, before: tuple[datetime, UUID] | None, most: int
) -> list[Alert]:
    """An organisation's alerts of one state, the last changed first; ``before``: where a page before ended."""
    query = sa.select(Alert).where(Alert.controller_id == controller, Alert.state == state)
    if before is not None:
        query = query.where(sa.tuple_(Alert.changed_at, Alert.id) < sa.tuple_(*before))
    return list(session.scalars(query.order_by(Alert.changed_at.desc(), Alert.id.desc()).limit(most)))


def by_reference(session: Session, reference: str) -> Alert:
    """An alert by the reference printed in its messages, however it was typed; Missing otherwise."""
    wanted = "".join(reference.upper().split()).removeprefix("WL").lstrip("-")
    if len(wanted) == REFERENCE_LENGTH and set(wanted) <= set(_ALPHABET):
        found = session.scalar(sa.select(Alert).where(Alert.reference == f"WL-{wanted}"))
        if found is not None:
            return found
    raise Missing("There is no alert with this reference.")


def _checked(session: Session, controller: UUID, words: Words) -> dict[str, Any]:
    """The columns of an alert, or Invalid naming the field."""
    if words["kind"] not in KINDS:
        raise Invalid("kind", f"Choose one of these kinds: {', '.join(KINDS)}.")
    if words["urgency"] not in URGENCIES:
        raise Invalid("urgency", f"Choose one of: {', '.join(URGENCIES)}.")
    _text("headline", words["headline"], LONGEST_HEADLINE)
    _text("body", words["body"], LONGEST_BODY)
    _text("what_to_do", words.get("what_to_do", ""), LONGEST_TO_DO, required=False)
    _text("how_to_tell", words.get("how_to_tell", ""), LONGEST_TO_TELL, required=False)
    _text("sms_text", words.get("sms_text", ""), LONGEST_SMS, required=False)
    who = audience.parse(
        words["audience_expression"], controller=controller, topic=words["topic"], channels=words["channels"]
    )
    audience.require_known(session, who)
    return {
        "kind": words["kind"],
        "urgency": words["urgency"],
        "topic": words["topic"],
        "headline": words["headline"].strip(),
        "body": words["body"],
        "what_to_do": words.get("what_to_do", ""),
        "how_to_tell": words.get("how_to_tell", ""),
        "sms_text": words.get("sms_text", ""),
        "channels": list(who.channels),
        "audience": dict(words["audience_expression"]),
        "restricted": words.get("restricted", False),
        "expires_at": words.get("expires_at"),
    }


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
            how_to_tell=alert.how_to_tell,
            reference=alert.reference,
            controller_name="",
            from_email="",
            from_name="",
        )
    except render.RenderError as error:
        raise Invalid("body", error.message) from None
    try:
        text = render.compile_sms(alert.sms_text or alert.headline, alert.reference, "", two_way=True)
        if len(text.replace("{name}", render.WIDEST_NAME)) > LONGEST_FILLED:
            raise render.RenderError("long", "With people's names in it, the text message is too long.")
    except render.RenderError as error:
        raise Invalid("sms_text" if alert.sms_text else "headline", error.message) from None
