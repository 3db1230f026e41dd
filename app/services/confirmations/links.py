"""The two links of a message: the one that confirms, and "it was not me". Looking at either changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Missing
from app.models.confirmations import Confirmation, ConfirmationRefusal, Signup
from app.services import consent, sessions
from app.services.confirmations import own_page, rations, signups, tokens
from app.services.confirmations.sending import MANAGE, SUBSCRIBE
from app.services.confirmations.signups import SignupView

REFUSED_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LinkView:
    """What a link confirms. ``signup`` is there when it is a sign-up."""

    used: bool
    signup: SignupView | None


def look(session: Session, token: str, *, now: datetime) -> LinkView:
    """What the link confirms; Missing when it confirms nothing, or no longer."""
    confirmation = _find(session, token, now)
    signup = session.get(Signup, confirmation.signup_id) if confirmation.signup_id else None
    seen = signups.view_of(session, signup) if signup is not None else None
    return LinkView(confirmation.used_at is not None, seen)


def press(session: Session, token: str, *, actor: audit.Actor, now: datetime) -> str | None:
    """Confirm. For one's own page: a session, as the token of its cookie. Twice is once; Missing."""
    confirmation = _find(session, token, now, lock=True)
    if confirmation.purpose == MANAGE and confirmation.used_at is None:
        return own_page.open_page(session, confirmation, now=now)
    pressed(session, token, actor=actor, now=now)
    return None


def pressed(session: Session, token: str, *, actor: audit.Actor, now: datetime) -> Confirmation | None:
    """Confirm an address of a sign-up; what that has just proved. Twice is once; Missing."""
    confirmation = _find(session, token, now, lock=True)
    if confirmation.used_at is not None or confirmation.signup_id is None:
        return None
    signup = session.get_one(Signup, confirmation.signup_id)
    signups.accept(session, signup, confirmation, actor=actor, now=now)
    return confirmation


def _find(session: Session, token: str, now: datetime, *, lock: bool = False) -> Confirmation:
    query = sa.select(Confirmation).where(
        Confirmation.link_digest == tokens.digest(token),
        Confirmation.expires_at > now,
        Confirmation.refused_at.is_(None),
    )
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise Missing("This link no longer works.")
    return found


def look_at_refusal(session: Session, token: str) -> bool:
    """Whether "it was not me" was said already; Missing when the link is not ours or has nothing to refuse."""
    return _refusable(session, token).refused_at is not None


def refuse(session: Session, token: str, *, actor: audit.Actor, now: datetime) -> None:
    """The holder of an address did not ask: for a while no code goes there, whoever asks. Twice is once; Missing.

    What had been confirmed all the same ends: the alerts of that sign-up, or the sessions of that page.
    """
    confirmation = _refusable(session, token, lock=True)
    if confirmation.refused_at is not None:
        return
    statement = insert(ConfirmationRefusal).values(
        channel=confirmation.channel, digest=rations.mailbox(confirmation), until=now + REFUSED_FOR
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["channel", "digest"],
            set_={"until": sa.func.greatest(ConfirmationRefusal.until, statement.excluded.until)},
        )
    )
    if confirmation.used_at is not None and confirmation.contact_id is not None:
        if confirmation.purpose == SUBSCRIBE:
            signup = session.get_one(Signup, confirmation.signup_id)
            _leave(session, signup, confirmation.contact_id, actor)
        sessions.end_all(session, contact_id=confirmation.contact_id)
    confirmation.refused_at = now
    confirmation.code_digest = tokens.no_code()
    confirmation.link_digest = None
    session.flush()
    audit.record(
        session,
        event="confirmation:refuse",
        subject=f"confirmation:{confirmation.id}",
        actor=actor,
        organisation=_controller(session, confirmation),
        s62=audit.S62.ALTERATION,
    )


def _leave(session: Session, signup: Signup, contact_id: int, actor: audit.Actor) -> None:
    how = "it was not me"
    if signup.purpose == consent.REGISTER:
        consent.withdraw(
            session, contact_id, signup.controller_id, purpose=consent.REGISTER, how=how, actor=actor
        )
    else:
        consent.leave(session, contact_id, signup.controller_id, how=how, actor=actor)


def _controller(session: Session, confirmation: Confirmation) -> UUID | None:
    """For whom the address was typed; nobody, when its holder only asked for their own page."""
    if confirmation.signup_id is None:
        return None
    signup = session.get(Signup, confirmation.signup_id)
    return signup.controller_id if signup else None


def _refusable(session: Session, token: str, *, lock: bool = False) -> Confirmation:
    wanted = tokens.read_not_me(token)
    query = sa.select(Confirmation).where(Confirmation.id == wanted)
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise Missing("There is nothing left to refuse.")
    return found
