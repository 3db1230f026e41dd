"""What operators see: processes that say they live, how doubt moved, and alarms with what was told of each."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

KINDS = ("urgent", "bulk", "receipts", "back", "scheduler", "sealer")


class Heartbeat(Base):
    """One process that has said it lives; written by the function ``heartbeat`` alone, in the database's time.

    ``instance`` is random and made at the process's start: no pid, which two machines may share.
    """

    __tablename__ = "heartbeats"

    kind: Mapped[str] = mapped_column(primary_key=True)
    instance: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    began_at: Mapped[datetime]
    at: Mapped[datetime]
    # Since when this process finds no queue server; NULL while it does.
    queue_away_since: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint(f"kind IN ({', '.join(repr(k) for k in KINDS)})", name="kind"),
        {"postgresql_with": {"fillfactor": 50}},
    )


class DoubtSample(Base):
    """How many recipients were in doubt at a moment: about one row a minute, from the batches' counters."""

    __tablename__ = "doubt_samples"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    in_doubt: Mapped[int] = mapped_column(sa.BigInteger)


class Alarm(Base):
    """Something that a human must hear of. One open row for each code and subject."""

    __tablename__ = "alarms"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    code: Mapped[str]
    subject: Mapped[str]  # what it is about, as a word or kind:id; never a person
    raised_at: Mapped[datetime]
    told_at: Mapped[datetime | None]  # the last time that every route was used
    tellings: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    over_since: Mapped[datetime | None]  # calm since then; raised again it is NULL
    cleared_at: Mapped[datetime | None]
    over_told_at: Mapped[datetime | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=sa.text("'{}'::jsonb"))

    __table_args__ = (
        sa.Index(
            "uq_alarms_open", "code", "subject", unique=True, postgresql_where=sa.text("cleared_at IS NULL")
        ),
        sa.Index("ix_alarms_cleared", "cleared_at", postgresql_where=sa.text("cleared_at IS NOT NULL")),
        sa.Index(
            "ix_alarms_over",
            "id",
            postgresql_where=sa.text(
                "cleared_at IS NOT NULL AND told_at IS NOT NULL AND over_told_at IS NULL"
            ),
        ),
    )


class AlarmPost(Base):
    """One call of the alarm webhook, waiting for worker-back or done with."""

    __tablename__ = "alarm_posts"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    alarm_id: Mapped[int] = mapped_column(sa.ForeignKey("alarms.id", ondelete="CASCADE"), index=True)
    what: Mapped[str]
    created_at: Mapped[datetime]
    not_before: Mapped[datetime]
    tries: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    closed_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    reason: Mapped[str] = mapped_column(server_default="")

    __table_args__ = (
        sa.CheckConstraint("what IN ('raised', 'again', 'over', 'test')", name="what"),
        sa.CheckConstraint("outcome IN ('sent', 'given-up')", name="outcome"),
        sa.CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="closed"),
        sa.Index("ix_alarm_posts_waiting", "not_before", postgresql_where=sa.text("closed_at IS NULL")),
    )
