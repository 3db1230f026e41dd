"""What the tests of replies need: an officer, and an alert that really reached somebody."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from app import crypto
from app.access import Who
from app.models.areas import Area
from app.models.ledger import Delivery
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import Role
from app.services import dispatch, roles
from messaging.types import Channel, DeliveryStatus, InboundSms, Keyword
from tests import ledger
from tests.factories import ACTOR, Makes


def staff_row(
    makes: Makes, organisation: Organisation, team: Team | None = None, name: str = "PC Okoro"
) -> Staff:
    """Somebody who may sign in."""
    n = next(makes.numbers)
    row = Staff(
        organisation_id=organisation.id,
        team_id=team.id if team else None,
        email=f"officer{n}@police.example",
        digest=crypto.keyring().digest("staff", f"officer{n}@police.example"),
        digest_key=crypto.keyring().index_id,
        name=name,
        password_hash="never used",
        totp_secret="never used",
        state="active",
    )
    makes.session.add(row)
    makes.session.flush()
    makes.role(row, Role.OFFICER, roles.Place(team_id=row.team_id))
    return row


def officer(makes: Makes, organisation: Organisation, team: Team | None = None) -> Who:
    return makes.who(staff_row(makes, organisation, team))


def appeal(
    makes: Makes,
    organisation: Organisation,
    ward: Area,
    channel: Channel = Channel.EMAIL,
    *,
    token: str | None = None,
    **changes: object,
) -> UUID:
    """An appeal frozen for the people of a ward; the dispatch's id."""
    values: dict[str, object] = {"kind": "appeal", "channels": [channel], "how_to_tell": "Ring **101**."}
    alert = makes.alert(organisation, [ward], **(values | changes))
    return dispatch.send(
        makes.session,
        alert.id,
        token=token or f"reply-token-{next(makes.numbers):06d}",
        actor=ACTOR,
        public_url=ledger.URL,
    ).id


def delivered(session: Session, sent: UUID, contact: ContactPoint, batch: int = 0, ref: str = "SM1") -> None:
    """The provider took the text to this person."""
    ordinal = ledger.ids(session, sent, batch).index(contact.id) + 1
    session.add(
        Delivery(
            dispatch_id=sent,
            contact_id=contact.id,
            batch_n=batch,
            ordinal=ordinal,
            attempt_n=1,
            status=int(DeliveryStatus.ACCEPTED),
            provider_ref=f"{ref}{sent.hex}",
        )
    )
    session.flush()


def text(sender: str, to: str, body: str, n: int = 0, keyword: Keyword | None = None) -> InboundSms:
    """A text from somebody; ``n`` makes it another one."""
    return InboundSms(f"SM{n:032x}", sender, to, body, keyword)
