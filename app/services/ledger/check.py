"""The invariant: everybody of a dispatch is in exactly one state, and the counters agree.

recipients = accepted (of which delivered, bounced, complained, silent) + refused + stopped +
erased + expired + in doubt + waiting + digested, each once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.alerts import Alert
from app.models.ledger import Dispatch
from app.services.ledger import months
from messaging.types import Channel


@dataclass(frozen=True, slots=True)
class Balance:
    """One dispatch and channel, counted from the ledger itself."""

    dispatch: UUID
    channel: str
    recipients: int
    accepted: int
    delivered: int
    bounced: int
    complained: int
    refused: int
    stopped: int
    erased: int
    expired: int
    in_doubt: int
    waiting: int
    digested: int = 0  # put off to a digest, which is a dispatch of its own
    problems: tuple[str, ...] = field(default=())
    dropped: bool = (
        False  # its month has gone: these are the batches' counters, and nothing to hold them against
    )

    @property
    def silent(self) -> int:
        """Accepted by the provider, which has reported nothing final since."""
        return self.accepted - self.delivered - self.bounced - self.complained

    @property
    def unaccounted(self) -> int:
        """Recipients of the frozen batches that the states do not add up to; 0 when all is well."""
        states = self.accepted + self.refused + self.stopped + self.erased + self.expired
        return self.recipients - states - self.in_doubt - self.waiting - self.digested

    @property
    def balances(self) -> bool:
        return self.unaccounted == 0 and not self.problems


STATES = (
    "accepted",
    "delivered",
    "bounced",
    "complained",
    "refused",
    "stopped",
    "erased",
    "expired",
    "in_doubt",
)

_COUNT = sa.text(
    """
    WITH frozen AS (
        SELECT b.n, b.channel, u.contact_id, u.ordinal
        FROM batches b CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
        WHERE b.dispatch_id = :dispatch
    ), joined AS (
        SELECT f.channel, f.contact_id, d.status, d.contact_id IS NULL AS absent,
            d.contact_id IS NOT NULL AND (d.batch_n, d.ordinal) IS DISTINCT FROM (f.n, CAST(f.ordinal AS smallint))
                AS misplaced
        FROM frozen f LEFT JOIN deliveries d ON d.dispatch_id = :dispatch AND d.contact_id = f.contact_id
    )
    SELECT channel, count(*), count(DISTINCT contact_id),
        count(*) FILTER (WHERE status >= 30), count(*) FILTER (WHERE status = 40),
        count(*) FILTER (WHERE status = 50), count(*) FILTER (WHERE status = 60),
        count(*) FILTER (WHERE status = 23), count(*) FILTER (WHERE status = 21),
        count(*) FILTER (WHERE status = 22), count(*) FILTER (WHERE status = 20),
        count(*) FILTER (WHERE status = 10), count(*) FILTER (WHERE absent OR status = 0),
        count(*) FILTER (WHERE misplaced)
    FROM joined GROUP BY channel ORDER BY channel
    """
)
_STRANGERS = sa.text(
    """
    SELECT count(*) FROM deliveries d WHERE d.dispatch_id = :dispatch AND NOT EXISTS (
        SELECT 1 FROM batches b WHERE b.dispatch_id = d.dispatch_id AND b.n = d.batch_n
          AND b.contact_ids[d.ordinal] = d.contact_id)
    """
)
_COUNTERS = sa.text(
    """
    SELECT channel, sum(accepted + delivered + bounced + complained), sum(delivered), sum(bounced), sum(complained),
        sum(refused), sum(stopped), sum(erased), sum(expired), sum(in_doubt)
    FROM batches WHERE dispatch_id = :dispatch GROUP BY channel
    """
)
_SIZES = sa.text("SELECT channel, sum(size) FROM batches WHERE dispatch_id = :dispatch GROUP BY channel")
_DIGESTED = sa.text(
    """
    WITH items AS (
        SELECT contact_id, state, digest_id FROM digest_items WHERE dispatch_id = :dispatch
    ), carried AS (
        SELECT b.dispatch_id AS digest_id, unnest(b.contact_ids) AS contact_id FROM batches b
        WHERE b.dispatch_id IN (SELECT digest_id FROM items)
    )
    SELECT count(*), (
            -- Of a month that is no longer kept there are only the counters.
            SELECT digested FROM dispatches x WHERE id = :dispatch
              AND NOT EXISTS (SELECT 1 FROM ledger_dropped l WHERE x.id >= l.low AND x.id < l.high)
        ),
        count(d.contact_id), count(*) FILTER (WHERE i.state = 'sent' AND c.contact_id IS NULL)
    FROM items i
    LEFT JOIN deliveries d ON d.dispatch_id = :dispatch AND d.contact_id = i.contact_id
    LEFT JOIN carried c ON c.digest_id = i.digest_id AND c.contact_id = i.contact_id
    """
)


def balance(session: Session, dispatch_id: UUID) -> list[Balance]:
    """Count one dispatch, channel by channel, and say in words whatever is wrong."""
    values = {"dispatch": dispatch_id}
    counters = {row[0]: tuple(int(v) for v in row[1:]) for row in session.execute(_COUNTERS, values)}
    if months.dropped(session, dispatch_id):
        return _by_counters(session, dispatch_id, counters)
    strangers = session.execute(_STRANGERS, values).scalar_one()
    digested = _digested(session, dispatch_id)
    found = []
    for channel, total, distinct, *states, misplaced in session.execute(_COUNT, values).all():
        problems = []
        if total != distinct:
            problems.append(f"{total - distinct} recipients stand in more than one batch")
        if misplaced:
            problems.append(f"{misplaced} deliveries stand at another place than their batch says")
        if strangers:
            problems.append(f"{strangers} deliveries belong to nobody of the frozen batches")
        if counters[channel] != tuple(states[:9]):
            problems.append(f"the counters say {counters[channel]}, the ledger {tuple(states[:9])}")
        names = (*STATES, "waiting")
        in_digests, trouble = digested.pop(channel, (0, []))
        found.append(
            Balance(
                dispatch_id,
                channel,
                recipients=total + in_digests,
                digested=in_digests,
                problems=(*problems, *trouble),
                dropped=False,
                **dict(zip(names, states, strict=True)),
            )
        )
    # Nobody got it but in digests.
    nobody = dict.fromkeys((*STATES, "waiting"), 0)
    found += [
        Balance(
            dispatch_id,
            channel,
            recipients=many,
            digested=many,
            problems=tuple(trouble),
            dropped=False,
            **nobody,
        )
        for channel, (many, trouble) in digested.items()
    ]
    return found


def _by_counters(session: Session, dispatch_id: UUID, counters: dict[str, tuple[int, ...]]) -> list[Balance]:
    """What the reports of a month that has gone rest on. Nobody of it waits, so the states must add up."""
    sizes = {channel: int(size) for channel, size in session.execute(_SIZES, {"dispatch": dispatch_id})}
    put_off = session.get_one(Dispatch, dispatch_id).digested
    nobody = (0,) * len(STATES)
    found = []
    for channel in sorted({*sizes, *([str(Channel.EMAIL)] if put_off else [])}):
        in_digests = put_off if channel == Channel.EMAIL else 0
        states = dict(zip(STATES, counters.get(channel, nobody), strict=True))
        total = sizes.get(channel, 0) + in_digests
        found.append(
            Balance(
                dispatch_id,
                channel,
                recipients=total,
                waiting=0,
                digested=in_digests,
                problems=(),
                dropped=True,
                **states,
            )
        )
    return found


def _digested(session: Session, dispatch_id: UUID) -> dict[str, tuple[int, list[str]]]:
    """Channel → those who were put off to digests, and what is wrong with that. Digests go by e-mail."""
    many, frozen, both, astray = session.execute(_DIGESTED, {"dispatch": dispatch_id}).one()
    problems = []
    if frozen is not None and many != frozen:
        problems.append(f"{many} recipients wait for digests or had them, {frozen} were frozen so")
    if both:
        problems.append(f"{both} recipients were put off to a digest and written to all the same")
    if astray:
        problems.append(f"{astray} recipients do not stand in the digest that they are said to have had")
    return {str(Channel.EMAIL): (many, problems)} if many or problems else {}


def of_alert(session: Session, alert: Alert) -> list[Balance]:
    """Every dispatch of an alert, oldest first."""
    ids = session.scalars(sa.select(Dispatch.id).where(Dispatch.alert_id == alert.id).order_by(Dispatch.id))
    return [line for dispatch in ids for line in balance(session, dispatch)]
