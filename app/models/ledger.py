"""The ledger: dispatches, frozen batches, attempts on record before the first byte, deliveries.

A batch holds its recipients as an array; no row per recipient exists before it is sent. A
delivery is (dispatch, batch, ordinal), known at the freeze; ordinals count from 1.
"""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, new_id

URGENT_LANE, BULK_LANE = 0, 1
BATCH_SIZE = 1_000  # SendGrid's most per call
WINDOW_SIZE = 100  # texts that may be in doubt at once
BETWEEN_TOPICS = ", "
# Half of the most that may wait at a provider, so that a window on top of it stays below 5 s.
BACKLOG_SECONDS = 2.5


class Dispatch(Base):
    """One sending of an alert."""

    __tablename__ = "dispatches"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    # None: a digest, of the alerts that its items name.
    alert_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("alerts.id"), index=True)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    send_token: Mapped[str] = mapped_column(unique=True)  # a double click is one dispatch
    urgency: Mapped[str]
    lane: Mapped[int] = mapped_column(sa.SmallInteger)
    topic: Mapped[str]  # of a digest, those of all its messages: BETWEEN_TOPICS stands between them
    exercise: Mapped[bool] = mapped_column(server_default=sa.false())
    state: Mapped[str] = mapped_column(server_default="running")
    recipients: Mapped[int]
    digested: Mapped[int] = mapped_column(sa.Integer, server_default="0")  # of these, in digests
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    frozen_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    stopped_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("state IN ('running', 'paused', 'stopped', 'done')", name="state"),
        sa.Index("ix_dispatches_open", "id", postgresql_where=sa.text("finished_at IS NULL")),
    )


class DispatchContent(Base):
    """What was said, rendered at the freeze and never changed: the legal record."""

    __tablename__ = "dispatch_contents"

    dispatch_id: Mapped[UUID] = mapped_column(sa.ForeignKey("dispatches.id"), primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(primary_key=True)
    sender_kind: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[str]  # makes the substitution tags of this dispatch unguessable
    subject: Mapped[str] = mapped_column(server_default="")
    text: Mapped[str]
    html: Mapped[str] = mapped_column(server_default="")


class Batch(Base):
    """Up to 1,000 frozen recipients of one channel × language × controller × sender."""

    __tablename__ = "batches"

    dispatch_id: Mapped[UUID] = mapped_column(sa.ForeignKey("dispatches.id"), primary_key=True)
    n: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    channel: Mapped[str]
    language: Mapped[str]
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    sender_id: Mapped[int] = mapped_column(sa.ForeignKey("senders.id"))
    lane: Mapped[int] = mapped_column(sa.SmallInteger)
    urgency: Mapped[str]
    exercise: Mapped[bool]
    contact_ids: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger))
    size: Mapped[int] = mapped_column(sa.SmallInteger)
    reserved_segments: Mapped[int]
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    # The quiet hours that all of them share, on London's clock, and when they begin next: not to be sent then.
    quiet_from: Mapped[int | None] = mapped_column(sa.SmallInteger)
    quiet_until: Mapped[int | None] = mapped_column(sa.SmallInteger)
    not_after: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    # Counters by state; progress is read from these, never by counting the ledger.
    accepted: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    delivered: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    bounced: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    complained: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    refused: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    stopped: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    erased: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    expired: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    in_doubt: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")

    __table_args__ = (
        sa.CheckConstraint("state IN ('waiting', 'paused', 'claimed', 'done')", name="state"),
        # Once its month has gone from the ledger a batch keeps its counters and nobody's id.
        sa.CheckConstraint(
            "size BETWEEN 1 AND 1000 AND (cardinality(contact_ids) = size "
            "OR cardinality(contact_ids) = 0 AND state = 'done')",
            name="size",
        ),
        # Fair between dispatches: the first batch of each goes before the second of any.
        sa.Index(
            "ix_batches_waiting", "lane", "n", "dispatch_id", postgresql_where=sa.text("state = 'waiting'")
        ),
        # Out of the way of those that may be claimed.
        sa.Index(
            "ix_batches_paused", "dispatch_id", "expires_at", postgresql_where=sa.text("state = 'paused'")
        ),
        sa.Index(
            "ix_batches_not_after",
            "not_after",
            postgresql_where=sa.text("state = 'waiting' AND not_after IS NOT NULL"),
        ),
        sa.Index("ix_batches_claimed", "lease_until", postgresql_where=sa.text("state = 'claimed'")),
        sa.Index("ix_batches_open", "dispatch_id", postgresql_where=sa.text("state <> 'done'")),
        sa.Index("ix_batches_in_doubt", "dispatch_id", "n", postgresql_where=sa.text("in_doubt > 0")),
        sa.Index(
            "ix_batches_silent",
            "dispatch_id",
            "n",
            postgresql_where=sa.text("channel = 'sms' AND accepted > 0"),
        ),
        {"postgresql_with": {"fillfactor": 70}},
    )


class Attempt(Base):
    """One try at a stretch of a batch, committed before the first byte leaves.

    While it is open, whoever of ``ordinal_from`` to ``ordinal_to`` has no delivery may have been sent to.
    """

    __tablename__ = "attempts"

    dispatch_id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_n: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    provider: Mapped[str]
    sender_id: Mapped[int]
    ordinal_from: Mapped[int] = mapped_column(sa.SmallInteger)
    ordinal_to: Mapped[int] = mapped_column(sa.SmallInteger)
    opened_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    provider_ref: Mapped[str | None]
    reason: Mapped[str] = mapped_column(server_default="")
    lease_token: Mapped[UUID]
    # Of its calls: which share the provider failed. NULL: it says nothing about the provider.
    failed_percent: Mapped[int | None] = mapped_column(sa.SmallInteger)
    ask_at: Mapped[datetime | None]  # in doubt: when to ask the provider again; NULL: as soon as it may know

    __table_args__ = (
        sa.ForeignKeyConstraint(["dispatch_id", "batch_n"], ["batches.dispatch_id", "batches.n"]),
        sa.CheckConstraint("outcome IN ('taken', 'not_taken', 'in_doubt', 'refused')", name="outcome"),
        sa.CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="closed"),
        sa.Index("ix_attempts_open", "dispatch_id", "batch_n", postgresql_where=sa.text("closed_at IS NULL")),
        sa.Index(
            "ix_attempts_closed", "provider", "closed_at", postgresql_where=sa.text("closed_at IS NOT NULL")
        ),
        sa.Index("ix_attempts_doubt", "opened_at", postgresql_where=sa.text("outcome = 'in_doubt'")),
    )


class Delivery(Base):
    """One recipient of a dispatch. No foreign keys: they would cost two thirds of the speed.

    Partitioned by dispatch id, a UUIDv7 and so by time; months are made ahead and dropped by housekeeping.
    """

    __tablename__ = "deliveries"

    dispatch_id: Mapped[UUID] = mapped_column(primary_key=True)
    contact_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    batch_n: Mapped[int] = mapped_column(sa.Integer)
    ordinal: Mapped[int] = mapped_column(sa.SmallInteger)
    attempt_n: Mapped[int | None] = mapped_column(sa.Integer)
    status: Mapped[int] = mapped_column(sa.SmallInteger)
    reason: Mapped[str | None]
    provider_ref: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        # Erasure must find what names a person at a provider; e-mail rows carry no such name.
        sa.Index("ix_deliveries_named", "contact_id", postgresql_where=sa.text("provider_ref IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (dispatch_id)"},
    )


class LedgerDropped(Base):
    """A month of the ledger that was dropped: dispatches of ``low`` to before ``high`` have only their counters."""

    __tablename__ = "ledger_dropped"

    low: Mapped[UUID] = mapped_column(primary_key=True)
    high: Mapped[UUID]
    month: Mapped[date]
    dropped_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    emptied_at: Mapped[datetime | None]  # attempts and ids in batches have gone too
