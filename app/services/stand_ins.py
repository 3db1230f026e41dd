"""Numbers of a second account that stand in for those of the first while its provider is down."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Invalid, Missing
from app.models.organisations import Sender
from app.providers import SECOND_TWILIO
from app.services import organisations
from messaging.types import Channel


def speaking_from(address: str | sa.ScalarSelect[str]) -> sa.ColumnElement[bool]:
    """The senders that speak from a number: its own of either lane, and those that it stands in for."""
    there = sa.select(Sender.id).where(Sender.address == address)
    return sa.or_(Sender.address == address, Sender.fallback_sender_id.in_(there))


def stand_in(
    session: Session, number: str, other: str, *, rate: float | None = None, actor: audit.Actor
) -> list[Sender]:
    """Let ``other``, a number of the second account, stand in for a number while its provider is down.

    It gets a sender for each lane of the first, with nobody of its own: no dispatch is spread over it, and STOP
    to it stops all who write from the first. ``rate``: segments a second, the first one's unless given. Raises
    Missing or Invalid.
    """
    first = session.scalars(
        sa.select(Sender)
        .where(Sender.channel == str(Channel.SMS), Sender.address == number, Sender.provider != SECOND_TWILIO)
        .order_by(Sender.id)
        .with_for_update()
    ).all()
    if not first:
        raise Missing("There is no such number on the first account.")
    made = []
    for sender in first:
        found = session.scalar(
            sa.select(Sender).where(
                Sender.channel == str(Channel.SMS), Sender.address == other, Sender.lane == sender.lane
            )
        )
        if found is None:
            found = organisations.add_sender(
                session,
                [],
                channel=str(Channel.SMS),
                provider=SECOND_TWILIO,
                address=other,
                kind=sender.kind,
                lane=sender.lane,
                display_name=sender.display_name,
                segments_per_second=rate or sender.segments_per_second,
                actor=actor,
            )
        if found.provider == sender.provider:
            raise Invalid("fallback", "Both are of one provider account: they would fail together.")
        if found.kind != sender.kind:
            raise Invalid("fallback", "Both must be of one kind: what people read about STOP must be true.")
        _set_fallback(session, sender, found.id, actor)
        made.append(found)
    return made


def end_stand_in(session: Session, number: str, *, actor: audit.Actor) -> int:
    """Let nothing stand in for a number any more; how many senders that changed."""
    first = session.scalars(
        sa.select(Sender)
        .where(
            Sender.channel == str(Channel.SMS),
            Sender.address == number,
            Sender.fallback_sender_id.is_not(None),
        )
        .with_for_update()
    ).all()
    for sender in first:
        _set_fallback(session, sender, None, actor)
    return len(first)


def _set_fallback(session: Session, sender: Sender, other: int | None, actor: audit.Actor) -> None:
    sender.fallback_sender_id = other
    session.flush()
    audit.record(
        session,
        event="sender:alter",
        subject=f"sender:{sender.id}",
        actor=actor,
        detail={"fallback": other},
    )
