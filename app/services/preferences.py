"""When somebody wants the messages that are not urgent: quiet hours, a weekly cap, a digest. An address without
preferences gets everything at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import utc_now
from app.errors import Invalid
from app.models.deferral import DIGESTS, ContactPreference
from app.models.people import ContactPoint
from messaging.types import Channel

LONGEST_QUIET: Final = 20  # hours: somebody for whom it is always quiet has left
MOST_A_WEEK: Final = 50
EARLIEST_DIGEST, LATEST_DIGEST = 6, 22
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Preferences:
    """Whole hours of London's clock (0 to 23); ``digest_weekday`` 1 Monday to 7 Sunday.

    ``quiet_from`` later than ``quiet_until`` goes over midnight. ``weekly_cap``: messages in any seven days.
    """

    quiet_from: int | None = None
    quiet_until: int | None = None
    weekly_cap: int | None = None
    digest: str = "none"
    digest_hour: int | None = None
    digest_weekday: int | None = None

    @property
    def quiet_hours(self) -> int:
        """How long it is quiet each day."""
        if self.quiet_from is None or self.quiet_until is None:
            return 0
        return (self.quiet_until - self.quiet_from) % 24


NONE: Final = Preferences()


def of_contact(session: Session, contact_id: int) -> Preferences:
    """What an address asked for; NONE when it asked for nothing."""
    found = session.get(ContactPreference, contact_id, populate_existing=True)
    if found is None:
        return NONE
    return Preferences(
        found.quiet_from,
        found.quiet_until,
        found.weekly_cap,
        found.digest,
        found.digest_hour,
        found.digest_weekday,
    )


def choose(session: Session, contact: ContactPoint, wanted: Preferences, *, actor: audit.Actor) -> bool:
    """Write down what the holder of an address asks for; False when that is what it asked for before.

    Invalid names the field. Messages sent before keep the time that was found for them; a new cap counts from now.
    """
    check(wanted, contact.channel)
    if of_contact(session, contact.id) == wanted:
        return False
    if wanted == NONE:
        session.execute(sa.delete(ContactPreference).where(ContactPreference.contact_id == contact.id))
    else:
        values = {name: getattr(wanted, name) for name in Preferences.__slots__} | {"changed_at": utc_now()}
        session.execute(
            insert(ContactPreference)
            .values(contact_id=contact.id, channel=contact.channel, **values)
            .on_conflict_do_update(index_elements=["contact_id"], set_=values)
        )
    audit.record(
        session,
        event="subscription:alter",
        subject=f"contact:{contact.id}",
        actor=actor,
        s62=audit.S62.ALTERATION,
        detail={"quiet_hours": wanted.quiet_hours, "weekly_cap": wanted.weekly_cap, "digest": wanted.digest},
    )
    return True


def check(wanted: Preferences, channel: str) -> None:
    """Invalid names the field that cannot be as it is wanted."""
    for field in ("quiet_from", "quiet_until", "digest_hour"):
        hour = getattr(wanted, field)
        if hour is not None and not 0 <= hour <= 23:
            raise Invalid(field, "Choose a full hour from 0 to 23.")
    if (wanted.quiet_from is None) != (wanted.quiet_until is None):
        missing = "quiet_until" if wanted.quiet_until is None else "quiet_from"
        raise Invalid(missing, "Say both when your quiet hours begin and when they end.")
    if wanted.quiet_from is not None and not 1 <= wanted.quiet_hours <= LONGEST_QUIET:
        raise Invalid("quiet_until", f"Quiet hours last 1 to {LONGEST_QUIET} hours a day.")
    if wanted.weekly_cap is not None and not 1 <= wanted.weekly_cap <= MOST_A_WEEK:
        raise Invalid("weekly_cap", f"Choose 1 to {MOST_A_WEEK} messages a week, or no limit.")
    _check_digest(wanted, channel)


def _check_digest(wanted: Preferences, channel: str) -> None:
    if wanted.digest not in DIGESTS:
        raise Invalid("digest", "Choose no digest, one a day or one a week.")
    if wanted.digest == "none":
        if wanted.digest_hour is not None or wanted.digest_weekday is not None:
            raise Invalid("digest", "Choose one a day or one a week, or take its time away.")
        return
    if channel != Channel.EMAIL:
        raise Invalid("digest", "A digest comes by e-mail only.")
    if wanted.digest_hour is None or not EARLIEST_DIGEST <= wanted.digest_hour <= LATEST_DIGEST:
        raise Invalid(
            "digest_hour",
            f"Choose when your digest comes: a full hour from {EARLIEST_DIGEST} to {LATEST_DIGEST}.",
        )
    if (wanted.digest == "weekly") != (wanted.digest_weekday is not None):
        raise Invalid("digest_weekday", "Choose the day of a weekly digest, and none for a daily one.")
    if wanted.digest_weekday is not None and not 1 <= wanted.digest_weekday <= 7:
        raise Invalid("digest_weekday", "Choose a day from Monday to Sunday.")
    if _quiet(wanted, wanted.digest_hour):
        raise Invalid("digest_hour", "Choose an hour outside your quiet hours for your digest.")


def _quiet(wanted: Preferences, hour: int) -> bool:
    return wanted.quiet_from is not None and (hour - wanted.quiet_from) % 24 < wanted.quiet_hours
