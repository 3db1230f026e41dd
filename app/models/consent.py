"""Consent (append-only) and suppression (whom not to write to, by digest)."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, new_id


class Wording(Base):
    """What somebody was shown when they agreed. Never edited: a change is a new version."""

    __tablename__ = "wordings"

    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    purpose: Mapped[str]
    version: Mapped[int]
    language: Mapped[str] = mapped_column(server_default="en")
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (sa.UniqueConstraint("purpose", "version", "language"),)


class Consent(Base):
    """Who agreed to which wording, for which controller, channel and purpose, when and how.

    The database lets two things be written later, once each: the withdrawal, and the
    pseudonym that replaces the contact point at erasure. No foreign key to the contact point:
    the evidence outlives it.
    """

    __tablename__ = "consents"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    contact_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    pseudonym: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    channel: Mapped[str]
    purpose: Mapped[str]
    wording_id: Mapped[int] = mapped_column(sa.ForeignKey("wordings.id"))
    given_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    how: Mapped[str]
    evidence: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    withdrawn_at: Mapped[datetime | None]
    withdrawn_how: Mapped[str | None]

    __table_args__ = (
        sa.Index(
            "ix_consents_now",
            "contact_id",
            "controller_id",
            "purpose",
            unique=True,
            postgresql_where=sa.text("withdrawn_at IS NULL AND contact_id IS NOT NULL"),
        ),
        # Erasure must find what was withdrawn as well.
        sa.Index("ix_consents_contact", "contact_id", postgresql_where=sa.text("contact_id IS NOT NULL")),
        sa.Index("ix_consents_evidence", "withdrawn_at", postgresql_where=sa.text("pseudonym IS NOT NULL")),
        sa.CheckConstraint("(contact_id IS NULL) <> (pseudonym IS NULL)", name="who"),
        sa.CheckConstraint("purpose IN ('alerts', 'register')", name="purpose"),
    )


class Suppression(Base):
    """An address that must not be written to: for one controller or all, one topic or all."""

    __tablename__ = "suppressions"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    channel: Mapped[str]
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary)
    digest_key: Mapped[int] = mapped_column(sa.SmallInteger)
    controller_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("organisations.id"))
    topic: Mapped[str | None]
    # A STOP belongs to the number it was sent to: START on that number undoes only that.
    sender_id: Mapped[int | None] = mapped_column(sa.ForeignKey("senders.id"))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    lifted_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "ix_suppressions_now",
            "digest",
            "channel",
            "controller_id",
            "topic",
            "sender_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=sa.text("lifted_at IS NULL"),
        ),
        sa.CheckConstraint(
            "reason IN ('stop', 'left', 'bounce', 'complaint', 'unsubscribe', 'provider', 'imported')",
            name="reason",
        ),
    )
