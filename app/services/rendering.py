"""What an alert says on each channel: rendered here for the freeze, and for a preview in the same way.

A message is compiled once, with places for what differs per person; a preview fills them with samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.models.alerts import REPLIABLE, Alert
from app.models.organisations import Organisation
from messaging import gsm7, links, render
from messaging.types import Channel

TWO_WAY, ALPHANUMERIC = "two-way", "alphanumeric"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message for everybody of a channel and kind of sender. Texts have no subject and no HTML."""

    channel: str
    sender_kind: str
    subject: str
    text: str
    html: str


def rendered(
    session: Session,
    alert: Alert,
    kinds: Iterable[tuple[str, str]],
    *,
    nonce: str,
    public_url: str,
    exercise: bool = False,
) -> list[Rendered]:
    """An alert for each (channel, kind of sender), in their order. RenderError says what cannot be sent."""
    controller = session.get_one(Organisation, alert.controller_id).name
    # Nobody may take an exercise for the real thing, on any channel.
    mark = "EXERCISE: " if exercise else ""
    reply = alert.kind in REPLIABLE
    made = []
    for channel, kind in kinds:
        if channel == Channel.EMAIL:
            mail = render.compile_email(
                nonce=nonce,
                headline=mark + alert.headline,
                body_markdown=alert.body,
                what_to_do=alert.what_to_do or "",
                how_to_tell=alert.how_to_tell or "",
                reply=reply,
                reference=alert.reference,
                controller_name=controller,
                from_email="",
                from_name="",
                language=alert.language or "en",
                public_url=public_url,
            )
            made.append(Rendered(channel, kind, mail.subject, mail.text, mail.html))
        else:
            text = text_message(
                mark + (alert.sms_text or alert.headline),
                reference=alert.reference,
                controller=controller,
                sender_kind=kind,
                reply=reply,
            )
            made.append(Rendered(channel, kind, "", text, ""))
    return made


def text_message(words: str, *, reference: str, controller: str, sender_kind: str, reply: bool) -> str:
    """One text for everybody, with its places still open."""
    return render.compile_sms(words, reference, controller, two_way=sender_kind == TWO_WAY, reply=reply)


def sample_text(text: str, public_url: str) -> str:
    """A text as somebody gets it whose name we do not know, with links as long as theirs."""
    return render.fill_sms(
        text,
        stop_url=links.sample(links.STOP, public_url.rstrip("/")),
        reply_url=links.sample(links.REPLY, public_url.rstrip("/")),
    )


def widest_text(text: str, public_url: str) -> str:
    """A text as it is at its longest."""
    return sample_text(text.replace("{name}", render.WIDEST_NAME), public_url)


def segments(text: str, public_url: str) -> gsm7.Segments:
    """What a text takes at most, once its places are filled."""
    return gsm7.segments(widest_text(text, public_url))
