"""Consent and its end: giving, leaving, suppressing. Leaving is complete at once.

Consent is the contact point's. A stop binds all who share the address.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Invalid, Missing
from app.models.consent import Consent, Suppression, Wording
from app.models.ledger import Dispatch
from app.models.people import ContactPoint
from app.services import processing

ALERTS, REGISTER = "alerts", "register"


def current_wording(session: Session, purpose: str = ALERTS, language: str = "en") -> Wording:
    """The wording that is shown now; Missing when none was written yet."""
    wording = session.scalar(
        sa.select(Wording)
        .where(Wording.purpose == purpose, Wording.language == language)
        .order_by(Wording.version.desc())
        .limit(1)
    )
    if wording is None:
        raise Missing(f"There is no wording for {purpose} in this language.")
    return wording


def add_wording(
    session: Session,
    text: str,
    *,
    purpose: str = ALERTS,
    language: str = "en",
    actor: audit.Actor = audit.SYSTEM,
) -> Wording:
    """A new version of what people are shown. Earlier versions stay, for consents given to them."""
    if not text.strip() or len(text) > 5_000 or "\x00" in text:
        raise Invalid("text", "The wording must have 1 to 5,000 characters.")
    last = session.scalar(
        sa.select(sa.func.max(Wording.version)).where(
            Wording.purpose == purpose, Wording.language == language
        )
    )
    wording = Wording(purpose=purpose, version=(last or 0) + 1, language=language, text=text.strip())
    session.add(wording)
    session.flush()
    audit.record(
        session,
        event="wording:add",
        subject=f"wording:{wording.id}",
        actor=actor,
        detail={"purpose": purpose, "version": wording.version},
    )
    return wording


def give(
    session: Session,
    contact: ContactPoint,
    controller: UUID,
    *,
    how: str,
    actor: audit.Actor,
    purpose: str = ALERTS,
    wording: int | None = None,
    evidence: dict[str, str | int] | None = None,
) -> bool:
    """Record consent to one controller; True when none stood. Given twice it stands once.

    ``wording`` is the id of what was shown; without it, what is shown now. A suppression by the person's own
    choice with this controller ends: a fresh yes outranks an old no. One by a provider (bounce, complaint), by
    STOP to a number, or of one topic stays.
    """
    shown = wording if wording is not None else current_wording(session, purpose).id
    given = session.execute(
        insert(Consent)
        .values(
            contact_id=contact.id,
            controller_id=controller,
            channel=contact.channel,
            purpose=purpose,
            wording_id=shown,
            how=how,
            evidence=evidence or {},
        )
        .on_conflict_do_nothing(
            index_elements=["contact_id", "controller_id", "purpose"],
            index_where=sa.text("withdrawn_at IS NULL AND contact_id IS NOT NULL"),
        )
        .returning(Consent.id)
    ).scalar_one_or_none()
    # What somebody wants to hear is no matter of the register's.
    lifted = (
        purpose == ALERTS
        and session.execute(
            sa.update(Suppression)
            .where(
                Suppression.digest == contact.digest,
                Suppression.channel == contact.channel,
                Suppression.controller_id == controller,
                Suppression.reason.in_(("left", "unsubscribe")),
                Suppression.topic.is_(None),
                Suppression.lifted_at.is_(None),
            )
            .values(lifted_at=sa.func.now())
            .returning(Suppression.id)
        ).all()
    )
    if given is None and not lifted:
        return False
    audit.record(
        session,
        event="consent:give",
        subject=f"contact:{contact.id}",
        actor=actor,
        organisation=controller,
        s62=processing.s62(session, controller, audit.S62.COLLECTION),
        detail={"purpose": purpose, "wording": shown, "how": how},
    )
    return given is not None


def lift_topics(session: Session, contact: ContactPoint, controller: UUID, topics: Sequence[str]) -> None:
    """Topics that were stopped one by one are wanted again."""
    session.execute(
        sa.update(Suppression)
        .where(
            Suppression.digest == contact.digest,
            Suppression.channel == contact.channel,
            Suppression.controller_id == controller,
            Suppression.topic.in_(topics),
            Suppression.reason == "left",
            Suppression.lifted_at.is_(None),
        )
        .values(lifted_at=sa.func.now())
    )


def suppress(
    session: Session,
    *,
    channel: str,
    digest: bytes,
    digest_key: int,
    controller: UUID | None,
    reason: str,
    topic: str | None = None,
    sender_id: int | None = None,
) -> bool:
    """Put an address out of reach; True when it was not already."""
    added = session.execute(
        insert(Suppression)
        .values(
            channel=channel,
            digest=digest,
            digest_key=digest_key,
            controller_id=controller,
            topic=topic,
            sender_id=sender_id,
            reason=reason,
        )
        .on_conflict_do_nothing()
        .returning(Suppression.id)
    ).scalar_one_or_none()
    return added is not None


def suppression_of(session: Session, contact: ContactPoint, controller: UUID) -> str | None:
    """Why a controller must not write to an address at all, whatever the topic; None when it may."""
    return session.scalar(
        sa.select(Suppression.reason)
        .where(
            Suppression.digest == contact.digest,
            Suppression.channel == contact.channel,
            sa.or_(Suppression.controller_id == controller, Suppression.controller_id.is_(None)),
            Suppression.topic.is_(None),
            Suppression.lifted_at.is_(None),
        )
        .limit(1)
    )


_WITHDRAW = sa.text(
    """
    UPDATE consents SET withdrawn_at = now(), withdrawn_how = :how
    WHERE contact_id = :contact AND purpose = :purpose AND withdrawn_at IS NULL
      AND controller_id = :controller
    RETURNING id
    """
)


def leave(
    session: Session, contact_id: int, controller: UUID, *, how: str, actor: audit.Actor, reason: str = "left"
) -> bool:
    """End everything between a contact point and a controller. Twice is once.

    False when the contact point no longer exists: there is nothing left to stop.
    """
    contact = session.get(ContactPoint, contact_id)
    if contact is None:
        return False
    added = suppress(
        session,
        channel=contact.channel,
        digest=contact.digest,
        digest_key=contact.digest_key,
        controller=controller,
        reason=reason,
    )
    withdrawn = _withdraw(session, contact_id, controller, ALERTS, how)
    if added or withdrawn:
        _note_withdrawal(session, contact_id, controller, ALERTS, how, actor)
    return True


def withdraw(
    session: Session, contact_id: int, controller: UUID, *, purpose: str, how: str, actor: audit.Actor
) -> bool:
    """End one consent; what was agreed to for another purpose stays. False when none stood.

    With that to the register the database deletes what the register holds of them.
    """
    withdrawn = _withdraw(session, contact_id, controller, purpose, how)
    if withdrawn:
        _note_withdrawal(session, contact_id, controller, purpose, how, actor)
    return withdrawn


def _withdraw(session: Session, contact_id: int, controller: UUID, purpose: str, how: str) -> bool:
    values = {"how": how, "contact": contact_id, "controller": controller, "purpose": purpose}
    return bool(session.execute(_WITHDRAW, values).all())


def _note_withdrawal(
    session: Session, contact_id: int, controller: UUID, purpose: str, how: str, actor: audit.Actor
) -> None:
    audit.record(
        session,
        event="consent:withdraw",
        subject=f"contact:{contact_id}",
        actor=actor,
        organisation=controller,
        s62=processing.s62(session, controller, audit.S62.ALTERATION),
        detail={"how": how} | ({} if purpose == ALERTS else {"purpose": purpose}),
    )


def leave_by_link(session: Session, contact_id: int, dispatch_id: UUID, *, how: str, origin: str) -> bool:
    """Somebody followed the stop link of a message: leave the controller that sent it.

    The link outlives the ledger: of a dispatch no longer kept, every controller is left.
    """
    actor = audit.Actor(audit.ActorKind.RESIDENT, id=str(contact_id), origin=origin)
    controller = session.scalar(sa.select(Dispatch.controller_id).where(Dispatch.id == dispatch_id))
    controllers = (
        [controller]
        if controller is not None
        else session.scalars(
            sa.select(Consent.controller_id)
            .where(
                Consent.contact_id == contact_id, Consent.withdrawn_at.is_(None), Consent.purpose == ALERTS
            )
            .distinct()
        ).all()
    )
    left = [
        leave(session, contact_id, one, how=how, actor=actor, reason="unsubscribe") for one in controllers
    ]
    return any(left)
