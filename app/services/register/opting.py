"""Opting in: a camera is typed in, by its owner or by an officer at their door; the owner proves an address, and agrees.

Until then it stands apart, opens to nobody, and is deleted with the sign-up after a week. Consent to the register is
its own: alerts neither need it nor give it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import new_id
from app.errors import Invalid
from app.models.confirmations import Confirmation, Signup
from app.models.consent import Wording
from app.models.organisations import Organisation
from app.services import areas, consent, processing, sessions, team_entries
from app.services.confirmations import links, signups
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import Terms
from app.services.confirmations.signups import REGISTER, Asked, SignupView
from app.services.people import Address
from app.services.register import calls, cameras
from app.services.register.cameras import Facts

__all__ = ["Owner", "again", "begin", "controllers", "enter", "enter_for", "press", "view"]

LONGEST_NAME = 100
NAME_PURPOSE = "camera_owners.name"
OWNER_KINDS: Mapping[str, str] = {"home": "My home", "business": "A business", "other": "Somewhere else"}
REACH_HOW: Mapping[str, str] = {
    "link": "Send me a link, to answer on a page",
    "phone": "Telephone me, once I have answered",
    "visit": "Come to my door, once I have answered",
}
REACH_WHEN: Mapping[str, str] = {
    "any": "At any time",
    "day": "Weekdays, 9am to 5pm",
    "evening": "Weekdays, 5pm to 9pm",
    "weekend": "At weekends",
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose camera it is, and how they want to be reached. Raises Invalid, naming the field."""

    name: str
    kind: str = "home"
    reach_how: str = "link"
    reach_when: str = "any"

    def __post_init__(self) -> None:
        if not self.name or len(self.name) > LONGEST_NAME or not self.name.isprintable():
            raise Invalid("name", f"Enter your name, in at most {LONGEST_NAME} characters.")
        for field, allowed in (("kind", OWNER_KINDS), ("reach_how", REACH_HOW), ("reach_when", REACH_WHEN)):
            if getattr(self, field) not in allowed:
                raise Invalid(field, "Choose one of the list.")

    @property
    def sealed_name(self) -> bytes:
        return crypto.keyring().encrypt(self.name, NAME_PURPOSE)


def controllers(session: Session, typed: str) -> list[tuple[UUID, str]]:
    """The organisations whose register a camera at this postcode can be on: those that may investigate. PostcodeError."""
    found = team_entries.controllers_of_ward(session, areas.find_ward(session, typed).area_id)
    competent = set(
        session.scalars(
            sa.select(Organisation.id).where(
                Organisation.id.in_([id for id, _ in found]), Organisation.competent_authority
            )
        )
    )
    return [(id, name) for id, name in found if id in competent]


def begin(
    session: Session,
    *,
    controller: UUID,
    facts: Facts,
    owner: Owner,
    addresses: Sequence[Address],
    wording: int,
    terms: Terms,
    now: datetime,
    staff_token: str | None = None,
    actor: audit.Actor,
) -> str:
    """Keep a camera and send a code to each address; the token of the page that asks for the codes.

    ``staff_token``: the session of the officer who stands at the door and types it in. Raises PostcodeError, Invalid,
    Conflict when ``wording`` is no longer current, or TooMany.
    """
    ward = areas.find_ward(session, facts.postcode)
    name = dict(controllers(session, ward.postcode)).get(controller)
    if name is None:
        raise Invalid("organisation", "No register of this organisation covers this postcode.")
    asked = Asked(
        controller, name, ward.postcode, signups.TO_REGISTER, REGISTER, linked=staff_token is not None
    )
    signup, token = signups.open_signup(
        session, asked, wording=wording, addresses=addresses, salutation=None, terms=terms, now=now
    )
    calls.call(
        session,
        "keep_draft",
        a_signup=signup,
        a_kind=owner.kind,
        a_name=owner.sealed_name,
        a_how=owner.reach_how,
        a_when=owner.reach_when,
        a_facts=facts.values,
        a_label=facts.sealed_label,
        staff_token=staff_token,
    )
    audit.record(
        session,
        event="camera:draft",
        subject=f"signup:{signup}",
        actor=actor,
        organisation=controller,
        area=ward.code,
        s62=processing.s62(session, controller, audit.S62.COLLECTION),
        detail={"door": staff_token is not None},
    )
    return token


def view(session: Session, token: str, *, now: datetime) -> SignupView:
    """The page that asks for the codes; Missing when it has vanished."""
    return signups.view(session, token, purpose=REGISTER, now=now)


def again(session: Session, token: str, terms: Terms, *, now: datetime) -> None:
    """New codes to the addresses that are not confirmed yet. Missing or TooMany."""
    signups.again(session, token, terms, purpose=REGISTER, now=now)


def enter(
    session: Session, token: str, code: str, terms: Terms, *, actor: audit.Actor, now: datetime
) -> tuple[Entered, str | None]:
    """A code; with the right one the owner's session, as the token of its cookie. Missing, Invalid or TooMany."""
    result, proved = signups.entered(session, token, code, terms, purpose=REGISTER, actor=actor, now=now)
    return result, _accept(session, proved, actor=actor, now=now) if proved is not None else None


def enter_for(
    session: Session, token: str, code: str, terms: Terms, *, actor: audit.Actor, now: datetime
) -> Entered:
    """The same on the device of an officer, to whom the owner read the code out: nobody is signed in by it."""
    result, opened = enter(session, token, code, terms, actor=actor, now=now)
    if opened is not None:
        sessions.end(session, sessions.digest(opened))
    return result


def press(session: Session, token: str, *, actor: audit.Actor, now: datetime) -> str | None:
    """The link of the message; a session as of ``enter``, or None when it was pressed before. Missing or Invalid."""
    proved = links.pressed(session, token, actor=actor, now=now)
    return _accept(session, proved, actor=actor, now=now) if proved is not None else None


def _accept(session: Session, proved: Confirmation, *, actor: audit.Actor, now: datetime) -> str:
    """The address was proved and its holder agreed: the camera is theirs, and live."""
    signup = session.get_one(Signup, proved.signup_id)
    token = sessions.begin(session, contact_id=proved.contact_id, now=now)
    camera = new_id()
    done = calls.call(
        session, "accept_draft", token=token, a_signup=signup.id, a_camera=camera, a_owner=new_id()
    )
    if done["camera"]:
        door = {"staff": done["staff"]} if done["staff"] else {}
        done["controller"] = str(signup.controller_id)
        cameras.record(session, "camera:add", camera, done, audit.S62.COLLECTION, actor, **door)
    return token


def wording(session: Session, id: int | None = None) -> tuple[int, str]:
    """What owners agree to now, or what was shown to one (``id``): its id and text. Missing when nobody wrote it yet."""
    found = consent.current_wording(session, REGISTER) if id is None else session.get_one(Wording, id)
    return found.id, found.text
