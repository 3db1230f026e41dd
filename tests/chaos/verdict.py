"""The verdict on a dispatch: the sandbox's own acceptance log, joined to the frozen batches.

Our ledger is never the judge; it is held against the log, and must say the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger import check
from messaging.sandbox import judge
from messaging.types import DeliveryRef, DeliveryStatus
from tests.chaos.ground import bounces

TWICE, LOST, AFTER_STOP, DISAGREES, DOUBT, UNBALANCED = (
    "twice",
    "lost",
    "after a stop",
    "the ledger disagrees with the log",
    "doubt that nothing justifies",
    "the ledger does not balance",
)
UNHEARD = "timeout"  # the reason that a living worker gives for its own doubt
_ENDED_OTHERWISE = {
    DeliveryStatus.IN_DOUBT,
    DeliveryStatus.EXPIRED,
    DeliveryStatus.STOPPED,
    DeliveryStatus.ERASED,
    DeliveryStatus.REFUSED,
}


@dataclass(slots=True)
class Verdict:
    """``harms``: what went wrong, by kind, one line each. Empty when all is well."""

    harms: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    frozen: int = 0
    accepted: int = 0  # acceptances in the log
    once: int = 0
    in_doubt: int = 0
    doubts: Counter[str] = field(default_factory=Counter)  # reason → how many in doubt by it
    receipts_lost: int = 0  # final statuses that the sandbox had to tell and the ledger does not show
    in_doubt_and_taken: int = 0
    stopped: int = 0

    def __str__(self) -> str:
        head = f"{self.frozen} frozen, {self.accepted} acceptances, {self.in_doubt} in doubt, {self.stopped} stopped"
        return "\n".join(
            [head]
            + [f"{kind}: {len(lines)}, such as {lines[0]}" for kind, lines in self.harms.items() if lines]
        )


_FROZEN = sa.text(
    """
    SELECT b.n, u.ordinal, u.contact_id
    FROM batches b CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    WHERE b.dispatch_id = :dispatch
    """
)
_LEDGER = sa.text(
    """
    SELECT d.contact_id, d.status, d.batch_n, d.attempt_n, d.reason, EXISTS (
        SELECT 1 FROM attempts a WHERE a.dispatch_id = d.dispatch_id AND a.batch_n = d.batch_n
          AND a.n = d.attempt_n AND d.ordinal BETWEEN a.ordinal_from AND a.ordinal_to)
    FROM deliveries d WHERE d.dispatch_id = :dispatch
    """
)


def reach(
    session: Session,
    log: Path,
    dispatch: UUID,
    *,
    addresses: Mapping[int, str],
    stops: Mapping[int, float],
    doubtful: Collection[tuple[int, int]],
    reasons: Collection[str] = (UNHEARD,),
    receipts: bool = False,
) -> Verdict:
    """Judge one dispatch.

    ``addresses``: contact id → address, as the test made them. ``stops``: contact id → Unix time
    when a STOP was committed, before anything of theirs was claimed. ``doubtful``: (batch,
    attempt) of the calls open when a worker was struck, which may end in doubt. A living worker
    says itself why it was left in doubt: ``reasons`` are those that the fault explains; anybody
    else in doubt is a harm. ``receipts``: the sandbox reported on everybody it accepted.
    """
    found = Verdict()
    frozen = {(n, o): c for n, o, c in session.execute(_FROZEN, {"dispatch": dispatch})}
    found.frozen = len(frozen)
    if len(set(frozen.values())) != len(frozen):
        found.harms[UNBALANCED].append("somebody stands in two batches")
    reached = _read_log(found, log, dispatch, frozen, addresses, stops)
    status = _hold_against_ledger(found, session, dispatch, frozen, reached, doubtful, reasons)
    if receipts:
        for contact in reached:
            told = DeliveryStatus.BOUNCED if bounces(addresses[contact]) else DeliveryStatus.DELIVERED
            found.receipts_lost += status.get(contact) is not told
    for line in check.balance(session, dispatch):
        if not line.balances or line.waiting:
            found.harms[UNBALANCED].append(f"{line}, unaccounted {line.unaccounted}")
    return found


def _read_log(
    found: Verdict,
    log: Path,
    dispatch: UUID,
    frozen: Mapping[tuple[int, int], int],
    addresses: Mapping[int, str],
    stops: Mapping[int, float],
) -> set[int]:
    """Who was accepted. Finds who was accepted twice, by contact or by address, or after a STOP."""
    contacts: Counter[int] = Counter()
    written: Counter[str] = Counter()
    for call in judge.read(log):
        for text, address in zip(call.refs, call.to, strict=True):
            ref = DeliveryRef.parse(text)
            if ref.dispatch != dispatch:
                continue
            contact = frozen.get((ref.batch, ref.ordinal))
            if contact is None or addresses[contact].casefold() != address.casefold():
                found.harms[DISAGREES].append(f"{text} went to somebody else than was frozen")
                continue
            contacts[contact] += 1
            written[address.casefold()] += 1
            if call.at > stops.get(contact, call.at):
                late = call.at - stops[contact]
                found.harms[AFTER_STOP].append(f"contact {contact}, {late:.3f} s after the STOP")
    found.accepted = contacts.total()
    found.once = sum(n == 1 for n in contacts.values())
    found.harms[TWICE] += [f"contact {c}, {n} times" for c, n in contacts.items() if n > 1]
    found.harms[TWICE] += [f"an address, {n} times" for n in written.values() if n > 1]
    return set(contacts)


def _hold_against_ledger(
    found: Verdict,
    session: Session,
    dispatch: UUID,
    frozen: Mapping[tuple[int, int], int],
    reached: set[int],
    doubtful: Collection[tuple[int, int]],
    reasons: Collection[str],
) -> dict[int, DeliveryStatus]:
    status: dict[int, DeliveryStatus] = {}
    for contact, value, batch, attempt, reason, has_attempt in session.execute(
        _LEDGER, {"dispatch": dispatch}
    ):
        status[contact] = DeliveryStatus(value)
        if value != DeliveryStatus.IN_DOUBT:
            continue
        found.in_doubt += 1
        found.doubts[reason] += 1
        found.in_doubt_and_taken += contact in reached
        if not has_attempt:
            found.harms[DOUBT].append(f"contact {contact} is in doubt without an attempt")
        elif reason not in reasons and (batch, attempt) not in doubtful:
            found.harms[DOUBT].append(f"contact {contact} in batch {batch}, attempt {attempt}: {reason}")
    for contact in frozen.values():
        state = status.get(contact, DeliveryStatus.WAITING)
        found.stopped += state is DeliveryStatus.STOPPED
        taken = state >= DeliveryStatus.ACCEPTED
        if contact in reached:
            if not taken and state is not DeliveryStatus.IN_DOUBT:
                found.harms[DISAGREES].append(f"contact {contact} was accepted and is {state.name}")
        elif taken:
            found.harms[DISAGREES].append(f"contact {contact} is {state.name} and was never accepted")
        elif state not in _ENDED_OTHERWISE:
            found.harms[LOST].append(f"contact {contact} is {state.name}")
    return status
