"""The second factor, whichever somebody has: a passkey, a code from an app, or a recovery code instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Missing
from app.models.staff import Staff
from app.services import account_notices, passkeys, recovery_codes, second_factor
from app.services.limits import Limit
from app.services.passkeys import Kind, Party

WINDOW = timedelta(minutes=15)
PER_ACCOUNT = 10
# With a stolen password a code of six digits must not be ground down over months.
PER_DAY = 40


class Way(StrEnum):
    """How a second factor is shown."""

    APP = "code"
    PASSKEY = "passkey"
    RECOVERY = "recovery"


@dataclass(frozen=True, slots=True)
class Factors:
    """What somebody has: an app, so many passkeys, so many recovery codes that still serve."""

    app: bool
    passkeys: int
    codes: int

    @property
    def any(self) -> bool:
        return self.app or self.passkeys > 0

    @property
    def few_codes(self) -> bool:
        return self.any and self.codes <= recovery_codes.FEW


@dataclass(frozen=True, slots=True)
class Shown:
    """What somebody shows: what they typed, or what their browser signed (JSON)."""

    typed: str = ""
    signed: str = ""

    @property
    def way(self) -> Way:
        if self.signed:
            return Way.PASSKEY
        return Way.RECOVERY if recovery_codes.fits(self.typed) else Way.APP


@dataclass(frozen=True, slots=True)
class Door:
    """Where a factor is asked for: ``bound`` is the session that asks, which alone may answer."""

    kind: Kind
    at: Party | None
    bound: bytes


def of(session: Session, staff_id: UUID) -> Factors:
    """What somebody has."""
    found = session.get_one(Staff, staff_id)
    return Factors(
        found.totp_secret is not None,
        passkeys.count(session, staff_id),
        recovery_codes.left(session, staff_id),
    )


def limits_of(door: str, way: Way, staff_id: UUID, neighbours: str) -> list[Limit]:
    """How often an account may try one way at a door. Each way for itself: whoever uses codes up leaves passkeys."""
    scope = f"{door}-{way}"
    return [
        Limit(scope, f"{staff_id} {neighbours}", PER_ACCOUNT, WINDOW),
        Limit(scope, str(staff_id), PER_DAY, timedelta(days=1)),
    ]


def show(
    session: Session, staff_id: UUID, shown: Shown, door: Door, *, actor: audit.Actor, now: datetime
) -> bool:
    """Whether what was shown is a second factor of this person's. It is used up by that."""
    match shown.way:
        case Way.PASSKEY:
            return _passkey(session, staff_id, shown.signed, door, actor, now)
        case Way.RECOVERY:
            return _recovery(session, staff_id, shown.typed, actor, now)
        case Way.APP:
            return second_factor.use(session, staff_id, shown.typed, now=now)


def _passkey(
    session: Session, staff_id: UUID, signed: str, door: Door, actor: audit.Actor, now: datetime
) -> bool:
    if door.at is None:
        return False
    found = passkeys.show(
        session, staff_id, door.kind, door.at, signed, bound=door.bound, actor=actor, now=now
    )
    if found is passkeys.Outcome.COPIED:
        account_notices.tell(
            session,
            staff_id,
            "A passkey of yours was refused",
            [
                (
                    "Somebody used a passkey of yours, and it counted backwards: a copy of a key does that. "
                    "It was refused, and nobody was let in by it."
                ),
                "Remove that passkey on the page Your account, and add a new one.",
            ],
            now=now,
        )
    return found is passkeys.Outcome.RIGHT


def _recovery(session: Session, staff_id: UUID, typed: str, actor: audit.Actor, now: datetime) -> bool:
    if not recovery_codes.use(session, staff_id, typed, now=now):
        return False
    left = recovery_codes.left(session, staff_id)
    owner = session.get_one(Staff, staff_id)
    audit.record(
        session,
        event="staff:recover",
        subject=f"staff:{staff_id}",
        actor=actor,
        organisation=owner.organisation_id,
        detail={"left": left},
    )
    more = " Make new ones soon, on the page Your account." if left <= recovery_codes.FEW else ""
    account_notices.tell(
        session,
        staff_id,
        "A recovery code of yours was used",
        [
            "Somebody just used one of your recovery codes instead of a passkey or a code from your app.",
            f"You have {left} left.{more}",
        ],
        now=now,
    )
    return True


def remove_passkey(
    session: Session, staff_id: UUID, passkey_id: UUID, *, actor: audit.Actor, now: datetime
) -> None:
    """Take a passkey away. Missing when it is not theirs; Conflict when it is the last factor."""
    found = _locked(session, staff_id)
    if not _leaves_one(session, found, passkeys_less=1):
        raise Conflict("This is your last way to show that it is you. Add another before you remove it.")
    name = passkeys.remove(session, staff_id, passkey_id, actor=actor)
    if name is None:
        raise Missing("There is no such passkey.")
    account_notices.tell(
        session,
        staff_id,
        "A passkey was removed from your account",
        [f"The passkey “{name}” was removed."],
        now=now,
    )


def remove_app(session: Session, staff_id: UUID, *, actor: audit.Actor, now: datetime) -> None:
    """Forget the authenticator app. Missing when there is none; Conflict when it is the last factor."""
    found = _locked(session, staff_id)
    if found.totp_secret is None:
        raise Missing("There is no app.")
    if not _leaves_one(session, found, app_less=True):
        raise Conflict("This is your last way to show that it is you. Add a passkey before you remove it.")
    found.totp_secret = found.totp_step = None
    session.flush()
    _record(session, "staff:remove-app", found, actor)
    account_notices.tell(
        session, staff_id, "The app was removed from your account", ["Its codes serve no more."], now=now
    )


def connect_app(
    session: Session, staff_id: UUID, secret: str, code: str, *, actor: audit.Actor, now: datetime
) -> bool:
    """Take another app in the place of what there was, if it shows the right code; whether it does."""
    found = _locked(session, staff_id)
    step = second_factor.step_of(secret, code, now=now, last=None)
    if step is None:
        return False
    found.totp_secret, found.totp_step = secret, step
    session.flush()
    _record(session, "staff:connect-app", found, actor)
    account_notices.tell(
        session,
        staff_id,
        "An app was connected to your account",
        [
            "An authenticator app was connected to your account. If there was another before, its codes serve no more."
        ],
        now=now,
    )
    return True


def new_codes(session: Session, staff_id: UUID, *, actor: audit.Actor, now: datetime) -> list[str]:
    """Recovery codes to be shown this once; those of before serve no more."""
    found = _locked(session, staff_id)
    made = recovery_codes.make(session, staff_id, now=now)
    _record(session, "staff:codes", found, actor)
    return made


def _locked(session: Session, staff_id: UUID) -> Staff:
    # Two browsers may each take away what the other leaves.
    return session.get_one(Staff, staff_id, with_for_update=True, populate_existing=True)


def _leaves_one(session: Session, found: Staff, *, passkeys_less: int = 0, app_less: bool = False) -> bool:
    """Whether a way in stays. Who signs in at their organisation needs none of ours."""
    app = found.totp_secret is not None and not app_less
    return found.oidc_subject is not None or app or passkeys.count(session, found.id) > passkeys_less


def _record(session: Session, event: str, found: Staff, actor: audit.Actor) -> None:
    audit.record(
        session, event=event, subject=f"staff:{found.id}", actor=actor, organisation=found.organisation_id
    )
