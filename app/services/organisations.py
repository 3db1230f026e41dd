"""Organisations and the senders they write from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.organisations import Organisation, Sender, SenderController, SenderPace
from app.permissions import INVESTIGATE, Permission
from app.services import roles
from messaging.types import Channel

MOST_LISTED = 500
KINDS = ("police", "council", "transport police", "fire", "association")
_SLUG = re.compile(r"[a-z][a-z0-9-]{1,59}")
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


def create(
    session: Session,
    *,
    slug: str,
    name: str,
    kind: str,
    legal_basis: str,
    actor: audit.Actor,
    competent_authority: bool = False,
) -> Organisation:
    """A new controller. Raises Invalid, or Conflict when the short name is taken."""
    if not _SLUG.fullmatch(slug):
        raise Invalid("slug", "The short name has 2 to 60 lower-case letters, digits and hyphens.")
    _check(name, kind, legal_basis)
    if by_slug(session, slug) is not None:
        raise Conflict("There is an organisation with this short name already.")
    organisation = Organisation(
        slug=slug,
        name=name.strip(),
        kind=kind,
        legal_basis=legal_basis,
        competent_authority=competent_authority,
    )
    session.add(organisation)
    session.flush()
    audit.record(
        session,
        event="organisation:create",
        subject=f"organisation:{organisation.id}",
        actor=actor,
        organisation=organisation.id,
    )
    return organisation


def alter(
    session: Session,
    organisation_id: UUID,
    *,
    by: Who | None,
    actor: audit.Actor,
    name: str | None = None,
    legal_basis: str | None = None,
    kind: str | None = None,
    competent_authority: bool | None = None,
    now: datetime,
) -> Organisation:
    """Change what is given. What kind it is, and whether Part 3 of the Act applies to it, only the operator says
    (``by`` is None). Missing for another's organisation; Invalid.

    Who is no competent authority any more has no investigators and supervisors from then on.
    """
    found = session.get(Organisation, organisation_id, with_for_update={"key_share": True})
    if found is None or found.ended_at is not None:
        raise Missing("There is no such organisation.")
    if by is not None and (
        found.id != by.organisation_id
        or not access.may(by, Permission.ORGANISATION_ALTER)
        or (kind, competent_authority) != (None, None)
    ):
        raise Missing("There is no such organisation.")
    _check(name or found.name, kind or found.kind, legal_basis or found.legal_basis)
    wanted = {
        "name": None if name is None else name.strip(),
        "legal_basis": None if legal_basis is None else legal_basis.strip(),
        "kind": kind,
        "competent_authority": competent_authority,
    }
    changed = {key: new for key, new in wanted.items() if new is not None and new != getattr(found, key)}
    for key, new in changed.items():
        setattr(found, key, new)
    session.flush()
    detail: dict[str, bool | int | str] = dict.fromkeys(changed, True)
    if changed.get("competent_authority") is False:
        detail["taken"] = roles.take_everywhere(session, found.id, INVESTIGATE, actor=actor, now=now)
    if "competent_authority" in changed:
        detail["competent"] = found.competent_authority
    if changed:
        audit.record(
            session,
            event="organisation:alter",
            subject=f"organisation:{found.id}",
            actor=actor,
            organisation=found.id,
            detail=detail,
        )
    return found


def _check(name: str, kind: str, legal_basis: str) -> None:
    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise Invalid("name", "The name must have 1 to 200 characters.")
    if kind not in KINDS:
        raise Invalid("kind", f"Choose one of: {', '.join(KINDS)}.")
    if not legal_basis.strip() or len(legal_basis) > 500 or not legal_basis.isprintable():
        raise Invalid("legal_basis", "Say in up to 500 characters on what legal basis it writes to people.")


def senders_of(session: Session, organisation_id: UUID) -> list[Sender]:
    """What an organisation writes from, the active first."""
    return list(
        session.scalars(
            sa.select(Sender)
            .join(SenderController, SenderController.sender_id == Sender.id)
            .where(SenderController.organisation_id == organisation_id)
            .order_by(Sender.active.desc(), Sender.channel, Sender.lane, Sender.id)
            .limit(MOST_LISTED)
        )
    )


def own(session: Session, who: Who) -> Organisation:
    """One's own organisation."""
    return session.get_one(Organisation, who.organisation_id)


def by_slug(session: Session, slug: str) -> Organisation | None:
    return session.scalar(sa.select(Organisation).where(Organisation.slug == slug))


def named(session: Session, slug: str) -> Organisation:
    """An organisation by its short name, ended ones too. Missing when there is none."""
    found = by_slug(session, slug)
    if found is None:
        raise Missing("There is no organisation with this short name.")
    return found


def standing(session: Session, slug: str) -> Organisation:
    """The same, but one that has ended is missing as well."""
    found = named(session, slug)
    if found.ended_at is not None:
        raise Missing("There is no organisation with this short name.")
    return found


def slug_of(session: Session, organisation: UUID) -> str:
    """Its short name, by which alarms name it."""
    return session.scalars(sa.select(Organisation.slug).where(Organisation.id == organisation)).one()


def listed(session: Session) -> list[Organisation]:
    """Every controller by name, as the privacy notice names them: there are few, and never more than this."""
    return list(
        session.scalars(
            sa.select(Organisation)
            .where(Organisation.ended_at.is_(None))
            .order_by(Organisation.name, Organisation.id)
            .limit(MOST_LISTED)
        )
    )


def add_sender(
    session: Session,
    controllers: Sequence[UUID],
    *,
    channel: str,
    provider: str,
    address: str,
    kind: str,
    lane: str,
    actor: audit.Actor,
    display_name: str = "",
    segments_per_second: float = 10.0,
) -> Sender:
    """An address to send from, for one or more controllers."""
    if channel == Channel.SMS:
        wanted = _NUMBER if kind == "two-way" else _ALPHANUMERIC
        if kind not in ("two-way", "alphanumeric") or not wanted.fullmatch(address):
            raise Invalid(
                "address", "A sender of texts is a number like +447700900123, or 1 to 11 letters and digits."
            )
    elif channel != Channel.EMAIL or kind != "email" or "@" not in address:
        raise Invalid("address", "A sender of e-mail is an e-mail address.")
    if lane not in ("urgent", "bulk"):
        raise Invalid("lane", "The lane is urgent or bulk.")
    if not 0 < segments_per_second <= 10_000:
        raise Invalid("segments_per_second", "The rate must be above 0 and at most 10,000 segments a second.")
    for controller in controllers:
        if session.get(Organisation, controller) is None:
            raise Missing("There is no such organisation.")
    sender = Sender(
        channel=channel,
        provider=provider,
        address=address,
        display_name=display_name,
        kind=kind,
        lane=lane,
        segments_per_second=segments_per_second,
    )
    session.add(sender)
    session.flush()
    session.add(SenderPace(sender_id=sender.id))
    session.add_all(SenderController(sender_id=sender.id, organisation_id=c) for c in controllers)
    session.flush()
    for controller in controllers:
        audit.record(
            session,
            event="sender:create",
            subject=f"sender:{sender.id}",
            actor=actor,
            organisation=controller,
            detail={"channel": channel, "lane": lane},
        )
    return sender
