"""The record: one row per act, the list of rows still to be chained, and the chain itself.

The tables, their triggers and their grants are made by ``migrations/audit_sql.py``; these
classes describe them and must agree with it (a test compares the two).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

__all__ = ["S62", "ActorKind", "AuditEntry", "AuditPending", "AuditSeal"]


class S62(StrEnum):
    """The six kinds of processing that section 62 of the Data Protection Act 2018 says to log."""

    COLLECTION = "collection"
    ALTERATION = "alteration"
    CONSULTATION = "consultation"
    DISCLOSURE = "disclosure"
    COMBINATION = "combination"
    ERASURE = "erasure"


class ActorKind(StrEnum):
    """Who acted."""

    STAFF = "staff"
    RESIDENT = "resident"
    OWNER = "owner"  # of a camera
    PROVIDER = "provider"  # a message provider, by its signed callback
    OPERATOR = "operator"  # whoever may run commands on the machine
    SYSTEM = "system"  # a worker or the scheduler, on nobody's order


class AuditEntry(Base):
    """One act. Insert-only: UPDATE, DELETE and TRUNCATE are refused, even to the tables' owner."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    version: Mapped[int] = mapped_column(sa.SmallInteger, server_default=sa.text("1"))
    at: Mapped[datetime] = mapped_column(server_default=sa.text("clock_timestamp()"))
    actor_kind: Mapped[str]
    actor_id: Mapped[str | None]
    organisation_id: Mapped[UUID | None]
    area_code: Mapped[str | None]
    subject: Mapped[str]
    event: Mapped[str]
    s62: Mapped[str | None]
    why: Mapped[str | None]
    origin: Mapped[str | None]
    detail: Mapped[str | None]
    """Ids and counts as canonical JSON text: text, so that not a byte of it can change with a version."""

    __table_args__ = (
        sa.CheckConstraint("version = 1", name="version"),
        # Finite and four digits of year: the only times that the canonical encoding can write.
        sa.CheckConstraint("at >= '2000-01-01 00:00Z' AND at < '9999-01-01 00:00Z'", name="at"),
        sa.CheckConstraint(
            "actor_kind IN ('staff', 'resident', 'owner', 'provider', 'operator', 'system')",
            name="actor_kind",
        ),
        sa.CheckConstraint(r"subject ~ '^[a-z][a-z-]*:\S{1,200}$'", name="subject"),
        sa.CheckConstraint("event ~ '^[a-z][a-z-]*:[a-z][a-z-]*$'", name="event"),
        sa.CheckConstraint(
            "s62 IN ('collection', 'alteration', 'consultation', 'disclosure', 'combination', 'erasure')",
            name="s62",
        ),
        sa.CheckConstraint("length(why) <= 2000", name="why"),
        # What a search begins with, then the order of its pages.
        sa.Index("ix_audit_entries_time", "organisation_id", "at", "id"),
        sa.Index("ix_audit_entries_subject", "subject", "at", "id"),
        sa.Index("ix_audit_entries_actor", "organisation_id", "actor_kind", "actor_id", "at", "id"),
        sa.Index("ix_audit_entries_event", "organisation_id", "event", "at", "id"),
        sa.Index(
            "ix_audit_entries_area",
            "organisation_id",
            "area_code",
            "actor_kind",
            "at",
            "id",
            postgresql_where=sa.text("area_code IS NOT NULL"),
        ),
        sa.Index(
            "ix_audit_entries_s62",
            "organisation_id",
            "s62",
            "at",
            "id",
            postgresql_where=sa.text("s62 IS NOT NULL"),
        ),
    )


class AuditPending(Base):
    """Entries not yet chained. Filled by a trigger, so however late one commits it is found."""

    __tablename__ = "audit_pending"

    entry_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)


class AuditSeal(Base):
    """One link: ``hash = sha256(prev || canonical encoding of the entry)``; ``seq`` has no gaps."""

    __tablename__ = "audit_seals"

    seq: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    prev: Mapped[bytes]
    hash: Mapped[bytes]
    sealed_at: Mapped[datetime] = mapped_column(server_default=sa.text("clock_timestamp()"))
