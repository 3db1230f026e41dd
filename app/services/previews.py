"""What each channel would carry, before anything is sent: by the same code as the freeze, with sample links."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import Invalid, Missing
from app.models.alerts import REPLIABLE, Alert
from app.models.organisations import Organisation
from app.services import dispatch, rendering
from messaging import links, render
from messaging.gsm7 import Segments
from messaging.types import Channel

_NONCE = "0" * 12


@dataclass(frozen=True, slots=True)
class Preview:
    """One message as a neighbour gets it. ``segments`` and no HTML for a text, the other way round for e-mail."""

    channel: str
    sender_kind: str
    subject: str
    text: str
    html: str
    segments: Segments | None


def preview(session: Session, alert: Alert, public_url: str, *, exercise: bool = False) -> list[Preview]:
    """An alert per channel and kind of sender that would carry it.

    Invalid when a channel has no sender, or the alert cannot be rendered.
    """
    kinds = sorted({(s.channel, s.kind) for s in dispatch.choose_senders(session, alert)})
    try:
        made = rendering.rendered(
            session, alert, kinds, nonce=_NONCE, public_url=public_url, exercise=exercise
        )
    except render.RenderError as error:
        raise Invalid("body", error.message) from None
    return [_filled(one, public_url) for one in made]


def _filled(one: rendering.Rendered, public_url: str) -> Preview:
    if one.channel == Channel.SMS:
        text = rendering.sample_text(one.text, public_url)
        segments = rendering.segments(one.text, public_url)
        return Preview(one.channel, one.sender_kind, "", text, "", segments)
    stop, manage, reply = (
        links.sample(purpose, public_url.rstrip("/")) for purpose in (links.STOP, links.MANAGE, links.REPLY)
    )
    values = render.substitutions(render.Tags(_NONCE), stop, manage, None, reply)
    subject, text, html = one.subject, one.text, one.html
    for tag, value in values.items():
        subject, text, html = (part.replace(tag, value) for part in (subject, text, html))
    return Preview(one.channel, one.sender_kind, subject, text, html, None)


@dataclass(frozen=True, slots=True)
class TextCount:
    """How long a text is that somebody is still writing, from one kind of sender."""

    sender_kind: str
    text: str
    segments: Segments


def count_text(
    session: Session,
    *,
    controller: UUID,
    kind: str,
    words: str,
    public_url: str,
    reference: str = "WL-0000000",
    sender_kind: str = rendering.TWO_WAY,
    exercise: bool = False,
) -> TextCount:
    """A text as it would leave, while it is being written. Invalid(sms_text) says what cannot be sent."""
    organisation = session.get(Organisation, controller)
    if organisation is None:
        raise Missing("There is no such organisation.")
    try:
        text = rendering.text_message(
            ("EXERCISE: " if exercise else "") + words,
            reference=reference,
            controller=organisation.name,
            sender_kind=sender_kind,
            reply=kind in REPLIABLE,
        )
    except render.RenderError as error:
        raise Invalid("sms_text", error.message) from None
    return TextCount(
        sender_kind, rendering.sample_text(text, public_url), rendering.segments(text, public_url)
    )
