"""How many codes may leave, and how often one may guess. When anything is unsure, no code leaves.

Only the limit of a network is told to whoever asks; every other leaves the page as if a code had gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.errors import ServiceError
from app.models.confirmations import Confirmation, ConfirmationRefusal
from app.services import limits, people
from app.services.limits import Limit
from messaging.types import Channel

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
PER_ADDRESS = ((3, HOUR), (6, DAY))
# Many mail systems deliver victim+1@ and v.ictim@ to one mailbox.
PER_MAILBOX = ((6, HOUR), (12, DAY))
DAILY = 4  # times the hourly limit of a network is its limit of a day
WRONG_PER_NETWORK = 20
MOST_TRIES = 5


class TooMany(ServiceError):
    """One network asks too often; nothing was counted or sent."""

    code = "too-many"


@dataclass(frozen=True, slots=True)
class Terms:
    """Who asks, and what the settings allow. ``network`` is a prefix, never one machine's address."""

    network: str
    public_url: str
    per_network: int
    per_hour: int
    pence_per_day: int
    segment_pence: Decimal


_ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtext('wardlink.codes'))")


def knock(session: Session, terms: Terms, codes: int, *, now: datetime) -> None:
    """Count ``codes`` against the network that asks for them; TooMany. Call it once, before any is sent."""
    network = [
        Limit("codes to a network", terms.network, terms.per_network, HOUR),
        Limit("codes to a network", terms.network, terms.per_network * DAILY, DAY),
    ]
    if limits.take(session, network, now=now, amount=codes) is not None:
        raise TooMany("Too many codes were asked for from your network. Wait an hour, then try again.")
    # A sign-up counts several addresses one after the other, and keeps all counters until it commits: two at once
    # could wait for each other.
    session.execute(_ONE_AT_A_TIME)


def mailbox(confirmation: Confirmation) -> bytes:
    """A digest of where an address is delivered, as far as one can guess: only for counting and refusing.

    What finds people keeps plus signs and dots, for only their owner knows whether they matter.
    """
    if confirmation.channel != Channel.EMAIL:
        return confirmation.digest
    local, _, domain = people.stored_address(confirmation.channel, confirmation.address).form.rpartition("@")
    return crypto.keyring().digest("mailbox", f"{local.partition('+')[0].replace('.', '')}@{domain}")


def may_send(
    session: Session, confirmation: Confirmation, terms: Terms, *, now: datetime, known: bool = True
) -> bool:
    """Whether a code may go to this address now; counts it when it may.

    To an address that is not ``known`` nothing leaves, so it takes nothing from what everybody shares.
    """
    place = mailbox(confirmation)
    refused = session.scalar(
        sa.select(ConfirmationRefusal.until).where(
            ConfirmationRefusal.channel == confirmation.channel,
            ConfirmationRefusal.digest == place,
            ConfirmationRefusal.until > now,
        )
    )
    if refused is not None:
        return False
    mine = [Limit("codes to an address", confirmation.digest, most, per) for most, per in PER_ADDRESS]
    mine += [Limit("codes to a mailbox", place, most, per) for most, per in PER_MAILBOX]
    everybody = [Limit("codes to everybody", "", terms.per_hour, HOUR)] if known else []
    return limits.take(session, [*mine, *everybody], now=now) is None


def may_spend(session: Session, segments: int, terms: Terms, *, now: datetime) -> bool:
    """Whether the day's money lasts for a text; counts it when it does."""
    return limits.spend(
        session,
        segments,
        pence_per_day=terms.pence_per_day,
        segment_pence=terms.segment_pence,
        now=now,
    )


def _wrong(terms: Terms) -> Limit:
    return Limit("wrong codes of a network", terms.network, WRONG_PER_NETWORK, HOUR)


def may_guess(session: Session, terms: Terms, *, now: datetime) -> None:
    """TooMany when wrong codes came from this network all the time."""
    if limits.used(session, _wrong(terms), now=now) >= WRONG_PER_NETWORK:
        raise TooMany("Too many wrong codes came from your network. Wait an hour, then try again.")


def guessed_wrong(session: Session, terms: Terms, *, now: datetime) -> None:
    limits.take(session, [_wrong(terms)], now=now)
