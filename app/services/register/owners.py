"""What owners do with their place in the register: look, pause, come back, renew, leave. Each is complete at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from app import crypto
from app.audit import record as audit
from app.errors import Invalid, Missing
from app.models.people import ContactPoint
from app.services import consent, processing, sessions
from app.services.erasure import engine
from app.services.register import calls, cameras
from app.services.register.cameras import Camera
from app.services.register.opting import NAME_PURPOSE, Owner

__all__ = ["Asked", "Match", "Mine", "Page", "change", "leave", "look", "pause", "renew", "resume"]

LOG_PAGE = 20  # as the database returns them
LONGEST_PAUSE = timedelta(days=366)
HOW = "register page"


@dataclass(frozen=True, slots=True)
class Mine:
    """An owner's place in the register of one organisation. ``state``: active or paused."""

    id: UUID
    controller: UUID
    organisation: str
    owner: Owner
    state: str
    paused_until: datetime | None
    renew_by: datetime
    two_ways: bool
    cameras: tuple[Camera, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A search that may have matched cameras of theirs."""

    at: datetime
    purpose: str
    organisation: str
    cameras: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that reached them, and what they answered."""

    at: datetime
    organisation: str
    answer: str | None
    answered_at: datetime | None
    state: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """All that the register holds of somebody. ``earlier``: there are searches before these."""

    mine: tuple[Mine, ...]
    searches: tuple[Match, ...]
    asked: tuple[Asked, ...]
    earlier: bool

    def camera(self, id: UUID) -> tuple[Mine, Camera]:
        """One of the cameras, with whose it is. Missing."""
        for one in self.mine:
            for camera in one.cameras:
                if camera.id == id:
                    return one, camera
        raise Missing("There is no such camera.")

    def place(self, id: UUID) -> Mine:
        """One of the places. Missing."""
        for one in self.mine:
            if one.id == id:
                return one
        raise Missing("There is no such owner.")


NOTHING = Page((), (), (), False)


def look(
    sessions_: sessionmaker[Session], token: str, *, origin: str, before: datetime | None = None
) -> Page:
    """The owner's own page. That it is opened is on the record, and committed, before anything is read.

    Missing when the session is over.
    """
    with sessions_.begin() as session:
        ticket = calls.call(session, "open_own", token=token, a_origin=origin)
    if ticket is None:
        return NOTHING
    with sessions_.begin() as session:
        found = calls.call(session, "run_own", ticket=ticket, token=token, before=before)
    return read(found)


def read(found: dict[str, Any]) -> Page:
    """From what the register returned."""
    searches = tuple(
        Match(_time(one["at"]), one["purpose"], one["by"], tuple(map(UUID, one["cameras"])))
        for one in found["searches"]
    )
    asked = tuple(
        Asked(
            _time(one["at"]),
            one["by"],
            one["answer"],
            _time(one["answered_at"]) if one["answered_at"] else None,
            one["state"],
            _time(one["expires_at"]),
        )
        for one in found["requests"]
    )
    mine = tuple(_mine(one) for one in found["owners"])
    return Page(mine, searches[:LOG_PAGE], asked, len(searches) > LOG_PAGE)


def _mine(one: dict[str, Any]) -> Mine:
    name = crypto.keyring().decrypt(bytes.fromhex(one["name"]), NAME_PURPOSE)
    return Mine(
        UUID(one["id"]),
        UUID(one["controller"]),
        one["organisation"],
        Owner(name, one["kind"], one["reach_how"], one["reach_when"]),
        one["state"],
        _time(one["paused_until"]) if one["paused_until"] else None,
        _time(one["renew_by"]),
        one["other"],
        tuple(map(cameras.read, one["cameras"])),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def change(session: Session, token: str, id: UUID, owner: Owner, *, actor: audit.Actor) -> None:
    """Their name, and how to reach them. Missing."""
    done = calls.call(
        session,
        "change_owner",
        token=token,
        a_owner=id,
        a_kind=owner.kind,
        a_name=owner.sealed_name,
        a_how=owner.reach_how,
        a_when=owner.reach_when,
    )
    _record(session, "owner:alter", done, audit.S62.ALTERATION, actor)


def pause(
    session: Session, token: str, id: UUID, until: datetime | None, *, actor: audit.Actor, now: datetime
) -> None:
    """Out of every search at once, until a moment or for good. Missing or Invalid."""
    if until is not None and not now < until <= now + LONGEST_PAUSE:
        raise Invalid("until", "Enter a day within the next year.")
    done = calls.call(session, "pause_owner", token=token, a_owner=id, a_until=until)
    _record(session, "owner:pause", done, audit.S62.ALTERATION, actor)


def resume(session: Session, token: str, id: UUID, *, actor: audit.Actor) -> None:
    """Back into searches. Missing."""
    done = calls.call(session, "resume_owner", token=token, a_owner=id)
    _record(session, "owner:resume", done, audit.S62.ALTERATION, actor)


def renew(session: Session, token: str, id: UUID, *, actor: audit.Actor) -> None:
    """Still there: for another year. Missing."""
    done = calls.call(session, "renew_owner", token=token, a_owner=id)
    _record(session, "owner:renew", done, audit.S62.ALTERATION, actor)


def leave(session: Session, token: str, id: UUID, *, actor: audit.Actor, how: str = HOW) -> None:
    """Delete all that the register holds of an owner; consent is withdrawn. What was disclosed before stays. Missing.

    An address that was given for the register alone is erased with it.
    """
    done = calls.call(session, "leave_register", token=token, a_owner=id)
    _record(session, "owner:leave", done, audit.S62.ERASURE, actor)
    contacts = [one for one in (done["contact"], done["other"]) if one is not None]
    for contact in contacts:
        consent.withdraw(
            session, contact, UUID(done["controller"]), purpose=consent.REGISTER, how=how, actor=actor
        )
    engine.unbound(session, contacts, actor=actor, why="left the register")


def answer(
    session: Session, contact_id: int, id: UUID, *, still: bool, actor: audit.Actor, now: datetime
) -> None:
    """ "Do you still have them?", answered by the link of a reminder: yes for a year, or no and out. Missing.

    The link is proof of the address for this one answer: a session for it lives no longer than this transaction.
    """
    if session.get(ContactPoint, contact_id) is None:
        raise Missing("There is no such owner.")
    token = sessions.begin(session, contact_id=contact_id, now=now)
    if still:
        renew(session, token, id, actor=actor)
    else:
        leave(session, token, id, actor=actor, how="reminder")
    sessions.end(session, sessions.digest(token))


def _record(session: Session, event: str, done: dict[str, Any], kind: audit.S62, actor: audit.Actor) -> None:
    controller = UUID(done["controller"])
    audit.record(
        session,
        event=event,
        subject=f"owner:{done['owner']}",
        actor=actor,
        organisation=controller,
        s62=processing.s62(session, controller, kind),
    )
