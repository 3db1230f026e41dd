"""The retention clock: what is kept for a time only, and goes when the time is over (design §7).

``CLASSES`` is the one table: the runbook prints it, worker-back purges by it every hour, each run is reported by class
and day, and a class whose purge did not run for two days is an alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.services import retention_runs
from app.services.erasure import engine
from app.services.register import renewal

RAW_EVENTS_KEPT = timedelta(days=30)  # they hold addresses, and say nothing that the ledger has not learnt
SERVICE_MESSAGES_KEPT = timedelta(days=30)
KNOWN_PLACES_KEPT = timedelta(days=180)  # whoever comes back later is told again
MISUSE_KEPT = timedelta(days=6 * 366)  # after it was closed: as long as a claim may be brought
HOMES_KEPT = timedelta(days=366)
INVITATIONS_KEPT = timedelta(days=7)  # so that who comes late can be told that it has expired
CLOCKS_DIFFER = timedelta(hours=1)  # another process may still count in a window that is over here
# "It was not me" is read the morning after, and must still be taken.
CONFIRMATIONS_KEPT = timedelta(days=7)
SENDS_KEPT = timedelta(days=8)  # no weekly cap reaches further back
REPLIES_KEPT = timedelta(days=400)
EVIDENCE_KEPT = timedelta(days=730)
RUNS_KEPT = timedelta(days=400)
MOST = 10_000
_NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class Kept:
    """A class of data: rows of a table that go once ``until`` lies ``after`` in the past.

    ``what``, ``since``, ``why``: as the runbook prints them. ``noted``: they were about people, and going is on the
    record. ``owner``: the column of the organisation that a row belongs to; without one it is the whole service's.
    """

    name: str
    what: str
    after: timedelta
    since: str
    why: str
    key: str
    until: str
    noted: bool = False
    owner: str = ""
    where: str = "true"

    @property
    def spoken(self) -> str:
        """How long, in words."""
        if not self.after:
            return f"until {self.since}"
        days, rest = divmod(self.after, timedelta(days=1))
        many, unit = (days, "day") if not rest else (self.after // timedelta(hours=1), "hour")
        return f"{many} {unit}{'' if many == 1 else 's'} after {self.since}"

    def purge(self, session: Session, *, now: datetime, most: int = MOST) -> int:
        """Delete up to ``most``, oldest first; how many. Call it again, in another transaction, while it was ``most``."""
        rows = session.execute(
            sa.text(
                f"WITH gone AS (DELETE FROM {self.name} WHERE ({self.key}) IN (SELECT {self.key} FROM {self.name} "
                f"WHERE {self.until} < :before AND {self.where} ORDER BY {self.until} LIMIT :most) "
                f"RETURNING {self.owner or 'NULL'} AS owner) SELECT owner, count(*) FROM gone GROUP BY owner"
            ),
            {"before": now - self.after, "most": most},
        ).all()
        counts: dict[Any, int] = dict(rows)
        gone = sum(counts.values())
        retention_runs.note_removed(
            session, self.name, {owner: n for owner, n in counts.items() if owner}, now=now
        )
        if self.noted:
            _note(session, self.name, gone)
        return gone

    def oldest(self, session: Session) -> datetime | None:
        """The oldest that is left, by the same index."""
        found: datetime | None = session.execute(
            sa.text(f"SELECT {self.until} FROM {self.name} WHERE {self.where} ORDER BY {self.until} LIMIT 1")
        ).scalar_one_or_none()
        return found


# They go with the month of the ledger that their dispatches lie in.
_DIGEST_ITEMS = sa.text(
    """
    DELETE FROM digest_items WHERE (dispatch_id, contact_id) IN (
        SELECT i.dispatch_id, i.contact_id FROM ledger_dropped d
        CROSS JOIN LATERAL (
            SELECT dispatch_id, contact_id FROM digest_items
            WHERE dispatch_id >= d.low AND dispatch_id < d.high AND state <> 'waiting' LIMIT :most
        ) i LIMIT :most
    )
    """
)


@dataclass(frozen=True, slots=True)
class Other:
    """A class that goes by another rule than its own age. Without ``act`` housekeeping sees to it; ``first`` is a query
    for the oldest that is left, ``left`` a function that knows it.
    """

    name: str
    what: str
    spoken: str
    why: str
    act: Callable[..., int] | None = None
    first: str = ""
    owner: str = ""
    left: Callable[[Session], datetime | None] | None = None

    def purge(self, session: Session, *, now: datetime, most: int = MOST) -> int:
        """As of ``Kept``."""
        return self.act(session, now=now, most=most) if self.act else 0

    def oldest(self, session: Session) -> datetime | None:
        """As of ``Kept``."""
        if self.left:
            return self.left(session)
        if not self.first:
            return None
        found: datetime | None = session.execute(sa.text(self.first)).scalar_one_or_none()
        return found


def purge_digest_items(session: Session, *, now: datetime, most: int = MOST) -> int:
    """Delete up to ``most`` who had their place in a digest, of months that are no longer kept; how many."""
    gone: int = session.execute(_DIGEST_ITEMS, {"most": most}).rowcount  # type: ignore[attr-defined]
    _note(session, "digest_items", gone)
    return gone


LEDGER = "deliveries"
_FIRST_MONTH = """
    SELECT min(to_date(right(c.relname, 6), 'YYYYMM')) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('deliveries' AS regclass) AND c.relname ~ '^deliveries_[0-9]{6}$'
"""
_FIRST_ITEM = "SELECT settled_at FROM digest_items WHERE settled_at IS NOT NULL ORDER BY settled_at LIMIT 1"
# An event that could not be merged in all that time never will be; it goes as well.
RAW_EVENTS = Kept(
    "raw_events", "what providers called with, as it came", RAW_EVENTS_KEPT, "it came",
    "it holds addresses, and says nothing that the ledger has not learnt", "id", "received_at", True,
)  # fmt: skip
CLASSES: Sequence[Kept | Other] = (
    Other(
        LEDGER, "each delivery in the ledger, its attempts, the ids in its batches",
        "`LEDGER_MONTHS` whole months besides the present one",
        "who was sent what, while anybody may ask; the counters of the batches stay",
        first=_FIRST_MONTH,
    ),
    Other(
        "digest_items", "places in digests that were sent or let go", "as long as their month of the ledger",
        "they are deliveries by another way", purge_digest_items, _FIRST_ITEM,
    ),
    RAW_EVENTS,
    Kept(
        "early_receipts", "reports that came before the row they speak of", RAW_EVENTS_KEPT, "the provider's time",
        "a row that has not come by then never will", "id", "at",
    ),
    Kept(
        "service_messages", "codes, invitations, answers: that they were sent, without words or address",
        SERVICE_MESSAGES_KEPT, "it was made", "to say what became of them", "id", "created_at", True, "controller_id",
    ),
    Kept(
        "signups", "sign-ups that nobody confirmed", _NOW, "they expire, seven days after they came",
        "nobody proved that the address is theirs", "id", "expires_at", True, "controller_id",
    ),
    Kept(
        "confirmations", "codes and links, used or not", CONFIRMATIONS_KEPT, "they expired",
        "“it was not me” is read the morning after", "id", "expires_at", True,
    ),
    Kept(
        "confirmation_refusals", "mailboxes whose holder said “it was not me”", _NOW, "their time is over",
        "no code goes there meanwhile", "channel, digest", "until",
    ),
    Kept(
        "replies", "threads of replies that are closed, both sides", REPLIES_KEPT, "they were closed",
        "what matters is in the force's own systems by then", "id", "closed_at", True, "controller_id",
        "state = 'closed' AND closed_at IS NOT NULL",
    ),
    Kept(
        "consents", "evidence of the consent of somebody erased, under a pseudonym", EVIDENCE_KEPT,
        "the consent ended", "to answer a complaint that we wrote without one", "id", "withdrawn_at", True,
        "controller_id", "pseudonym IS NOT NULL",
    ),
    Other(
        "erasures", "what came in about somebody while they were being erased", "until the next hour",
        "somebody may have been writing it down",
        lambda session, *, now, most: engine.again(session, now=now, most=most),
    ),
    Other(
        "camera_owners", "owners of cameras who did not say in a year that they still have them, and their cameras",
        "a year after they last said so, and two reminders", "the register must be right, and silence is no consent",
        lambda session, *, now, most: renewal.lapse(session, now=now, most=most), owner="controller_id",
        left=renewal.oldest,
    ),
    Kept(
        "misuse_reports", "closed reports of misuse by staff", MISUSE_KEPT, "they were closed",
        "a claim may be brought for six years", "id", "closed_at", True, "organisation_id", "closed_at IS NOT NULL",
    ),
    Kept(
        "search_findings", "closed findings of unusual searching", MISUSE_KEPT, "they were closed",
        "a claim may be brought for six years", "id", "closed_at", True, "organisation_id", "closed_at IS NOT NULL",
    ),
    Kept(
        "search_reviews", "verdicts on searches of the register", MISUSE_KEPT, "the verdict",
        "a claim may be brought for six years", "id", "judged_at", True, "organisation_id", "judged_at IS NOT NULL",
    ),
    Kept(
        "staff_homes", "wards where staff lived before", HOMES_KEPT, "they said another",
        "whoever moves does not thereby make their old street anybody's", "id", "until", where="until IS NOT NULL",
    ),
    Kept(
        "contact_sends", "what was sent to an address with a weekly limit", SENDS_KEPT, "it was due",
        "no limit reaches further back", "contact_id, at, dispatch_id", "at",
    ),
    Kept(
        "web_sessions", "who is signed in", _NOW, "they expire", "a session that is over opens nothing", "digest",
        "expires_at",
    ),
    Kept(
        "staff_invitations", "ways in that were offered to staff, used or not", INVITATIONS_KEPT, "they expired",
        "who comes late is told so", "digest", "expires_at",
    ),
    Kept(
        "staff_known_places", "networks and browsers that staff signed in from, as digests", KNOWN_PLACES_KEPT,
        "the last sign-in from there", "whoever comes back later is told again", "staff_id, digest", "seen_at",
    ),
    Kept(
        "sign_in_ceremonies", "what was asked of somebody signing in", _NOW, "it expires, minutes after",
        "it is answered at once or never", "digest", "expires_at",
    ),
    Kept(
        "rate_counters", "how often something was asked for, by digest", CLOCKS_DIFFER, "its window ended",
        "clocks of two machines may differ", 'scope, key, "window"', '"window"',
    ),
    Kept(
        "retention_runs", "the report of this clock", RUNS_KEPT, "the day", "for a year's report", "id", "day",
    ),
)  # fmt: skip
"""All there is to delete, in the order in which it is done."""

OWNED = {one.name: bool(one.owner) for one in CLASSES}
"""Class → whether its rows belong to organisations, each of which sees its own figures alone."""
Purge = Callable[..., int]
PURGES: Sequence[tuple[str, Purge]] = tuple((one.name, one.purge) for one in CLASSES if one.name != LEDGER)
"""(class, function of session, ``now`` and ``most``), each as ``Kept.purge``."""
purge_raw_events = RAW_EVENTS.purge


def note_run(session: Session, one: Kept | Other, removed: int, *, now: datetime) -> None:
    """A purge ran to its end, having removed so many: into the report, by organisation once a day."""
    first = retention_runs.note_run(session, one.name, removed, one.oldest(session), now=now)
    if first and isinstance(one, Kept) and one.owner:
        retention_runs.note_oldest(session, one.name, one.owner, one.until, one.where, now=now)


def printed() -> list[str]:
    """The table as the runbook prints it, line by line."""
    heads = ["| Class | What | How long | Why |", "|---|---|---|---|"]
    return heads + [f"| `{one.name}` | {one.what} | {one.spoken} | {one.why} |" for one in CLASSES]


def _note(session: Session, table: str, gone: int) -> None:
    if gone:
        audit.record(
            session,
            event="ledger:purge",
            subject=f"table:{table}",
            actor=audit.SYSTEM,
            s62=audit.S62.ERASURE,
            detail={"deleted": gone},
        )


if __name__ == "__main__":
    print("\n".join(printed()))  # noqa: T201
