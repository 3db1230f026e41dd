"""Whether we would have heard a provider: which processes answered webhooks, and what they turned away.

Every process of the site says four times a minute that it answers. A minute without any of them, one that died, and
every call that was turned away are *trouble*: a provider may be waiting to tell us again. What is not known is trouble.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session, sessionmaker

from app.db import AWAY, new_id
from app.models.reconcile import WebhookRefusal, WebListening

log = structlog.get_logger(__name__)

BEAT_SECONDS = 15.0
# Silent for longer, a process is dead, or cut off from the database.
DEAD_AFTER = timedelta(seconds=60)
LOOK_BACK = timedelta(days=4)  # nothing that asks is older
KEPT = timedelta(days=7)

_BEAT = sa.text(
    """
    UPDATE web_listening SET seen_at = clock_timestamp()
    WHERE id = :id AND seen_at > clock_timestamp() - CAST(:dead AS interval)
    """
)
_BEGIN = sa.text(
    "INSERT INTO web_listening (id, began_at, seen_at) VALUES (:id, clock_timestamp(), clock_timestamp())"
)
_END = sa.text(
    "UPDATE web_listening SET seen_at = clock_timestamp(), ended_at = clock_timestamp() "
    "WHERE id = :id AND seen_at > clock_timestamp() - CAST(:dead AS interval)"
)
_REFUSED = sa.text(
    """
    INSERT INTO webhook_refusals (source, minute)
    SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:minutes AS timestamptz[])) ON CONFLICT DO NOTHING
    """
)
_REFUSED_BEFORE = sa.text(
    """
    INSERT INTO webhook_refusals (source, minute)
    SELECT DISTINCT r.source, date_trunc('minute', clock_timestamp() - make_interval(secs => r.age))
    FROM unnest(CAST(:sources AS text[]), CAST(:ages AS float8[])) AS r(source, age)
    ON CONFLICT DO NOTHING
    """
)
_ONCE_IN = 30.0  # seconds
# A refusal speaks for those of the next half minute, which are not written down.
_TROUBLE_LASTS = timedelta(minutes=2)


class Listening:
    """What one process says about itself. Everything here may fail with the database: then it says so later."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._id: UUID | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        # (source, half minute of this process's life): refusals written down, and those that could not be.
        self._noted: set[tuple[str, int]] = set()
        self._owed: set[tuple[str, int]] = set()

    def begin(self) -> None:
        """From now on this process answers; a thread says so until ``end``."""
        self.beat()
        threading.Thread(target=self._live, name="listening", daemon=True).start()

    def _live(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self.beat()

    def beat(self) -> bool:
        """Say once that this process answers, and what it turned away meanwhile; False if nobody heard it."""
        try:
            self._settle()
            with self._sessions.begin() as session:
                values = {"id": self._id, "dead": DEAD_AFTER}
                if self._id is None or not session.execute(_BEAT, values).rowcount:  # type: ignore[attr-defined]
                    # A stretch of its own: in between nobody could know.
                    fresh = new_id()
                    session.execute(_BEGIN, {"id": fresh})
                    self._id = fresh
        except sa.exc.SQLAlchemyError as error:
            log.warning("beat_unheard", error=type(error).__name__)
            return False
        return True

    def end(self) -> None:
        """This process has answered its last call."""
        self._over.set()
        try:
            self._settle()
            with self._sessions.begin() as session:
                session.execute(_END, {"id": self._id, "dead": DEAD_AFTER})
        except sa.exc.SQLAlchemyError as error:
            log.warning("beat_unheard", error=type(error).__name__)

    def refused(self, source: str) -> None:
        """A call of this provider was turned away; written down twice a minute, at once where that can be."""
        refusal = source, int(time.monotonic() // _ONCE_IN)
        with self._lock:
            if refusal in self._noted or refusal in self._owed:
                return
            self._owed.add(refusal)
        try:
            self._settle()
        except AWAY as error:
            log.warning("refusal_not_noted", error=type(error).__name__)

    def _settle(self) -> None:
        with self._lock:
            owed = sorted(self._owed)
        if not owed:
            return
        # By the database's clock, whatever this machine's says.
        now = time.monotonic()
        ages = [max(0.0, now - (nth + 1) * _ONCE_IN) for _, nth in owed]
        with self._sessions.begin() as session:
            session.execute(_REFUSED_BEFORE, {"sources": [s for s, _ in owed], "ages": ages})
        with self._lock:
            self._owed.difference_update(owed)
            newest = max(nth for _, nth in owed)
            self._noted = {one for one in self._noted.union(owed) if one[1] == newest}


def note(session: Session, refused: Iterable[tuple[str, datetime]]) -> None:
    """Write down that calls of a provider were turned away, or could not be read: (source, when) each."""
    minutes = sorted({(source, at.replace(second=0, microsecond=0)) for source, at in refused})
    values = {"sources": [s for s, _ in minutes], "minutes": [m for _, m in minutes]}
    session.execute(_REFUSED, values)


def calm_since(session: Session, source: str, *, now: datetime) -> datetime:
    """Since when we have listened to a provider without a break and turned nothing away; ``now`` if we do not.

    What happened in the last minute may not be written down yet: whoever concludes from silence waits longer.
    """
    earliest = now - LOOK_BACK
    stretches = session.execute(
        sa.select(WebListening.began_at, WebListening.seen_at, WebListening.ended_at)
        .where(WebListening.seen_at >= earliest)
        .order_by(WebListening.seen_at.desc())
    ).all()
    last_refusal = session.scalar(
        sa.select(sa.func.max(WebhookRefusal.minute)).where(
            WebhookRefusal.source == source, WebhookRefusal.minute >= earliest
        )
    )
    covered: list[tuple[datetime, datetime]] = []
    trouble = [earliest]
    if last_refusal is not None:
        trouble.append(last_refusal + _TROUBLE_LASTS)
    for began, seen, ended in stretches:
        if ended is not None:
            covered.append((began, ended))
        elif seen > now - DEAD_AFTER:
            covered.append((began, now))
        else:
            covered.append((began, seen))
            trouble.append(seen + DEAD_AFTER)
    reached = now
    for began, until in sorted(covered, key=lambda c: c[1], reverse=True):
        if until < reached:
            break
        reached = min(reached, began)
    return max(reached, *trouble)


def purge(session: Session, *, now: datetime) -> None:
    """Delete what nobody asks for any more."""
    session.execute(sa.delete(WebListening).where(WebListening.seen_at < now - KEPT))
    session.execute(sa.delete(WebhookRefusal).where(WebhookRefusal.minute < now - KEPT))
