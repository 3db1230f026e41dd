"""When messages wait: what a contact point asked for, what it has had, and what goes into its next digest."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

DIGESTS = ("none", "daily", "weekly")
ITEM_STATES = ("waiting", "sent", "stopped", "erased", "expired")


class ContactPreference(Base):
    """When a contact point wants its messages that are not urgent. Without a row: all of them, at once.

    Whole hours of the wall clock in London. The address's, whoever writes to it: a night is a night.
    """

    __tablename__ = "contact_preferences"

    contact_id: Mapped[int] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    channel: Mapped[str]
    quiet_from: Mapped[int | None] = mapped_column(sa.SmallInteger)
    quiet_until: Mapped[int | None] = mapped_column(sa.SmallInteger)
    weekly_cap: Mapped[int | None] = mapped_column(sa.SmallInteger)
    digest: Mapped[str] = mapped_column(server_default="none")
    digest_hour: Mapped[int | None] = mapped_column(sa.SmallInteger)
    digest_weekday: Mapped[int | None] = mapped_column(sa.SmallInteger)  # 1 Monday … 7 Sunday
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        sa.CheckConstraint(
            "(quiet_from IS NULL) = (quiet_until IS NULL) AND quiet_from <> quiet_until "
            "AND quiet_from BETWEEN 0 AND 23 AND quiet_until BETWEEN 0 AND 23",
            name="quiet",
        ),
        sa.CheckConstraint("weekly_cap BETWEEN 1 AND 50", name="cap"),
        sa.CheckConstraint("digest IN ('none', 'daily', 'weekly')", name="digest"),
        sa.CheckConstraint("digest = 'none' OR channel = 'email'", name="digest_by_email"),
        sa.CheckConstraint(
            "(digest <> 'none') = (digest_hour IS NOT NULL) AND (digest = 'weekly') = (digest_weekday IS NOT NULL) "
            "AND digest_hour BETWEEN 6 AND 22 AND digest_weekday BETWEEN 1 AND 7",
            name="digest_when",
        ),
    )


class ContactSend(Base):
    """One message that counts against a weekly cap, at the time when it is due to leave.

    Kept only for contact points with a cap, and only until no cap can reach back to it.
    """

    __tablename__ = "contact_sends"

    contact_id: Mapped[int] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime] = mapped_column(primary_key=True)
    dispatch_id: Mapped[UUID] = mapped_column(primary_key=True)

    __table_args__ = (sa.Index("ix_contact_sends_at", "at"),)


class DigestItem(Base):
    """A recipient of a dispatch who gets it in a digest: instead of a place in a batch.

    No foreign key to the contact point: who was erased is still accounted for.
    """

    __tablename__ = "digest_items"

    dispatch_id: Mapped[UUID] = mapped_column(sa.ForeignKey("dispatches.id"), primary_key=True)
    contact_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    controller_id: Mapped[UUID]
    due_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(server_default="waiting")
    digest_id: Mapped[UUID | None]  # the dispatch that carries it
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint(f"state IN ({', '.join(repr(s) for s in ITEM_STATES)})", name="state"),
        sa.CheckConstraint("(state = 'sent') = (digest_id IS NOT NULL)", name="digest"),
        sa.CheckConstraint("(state = 'waiting') = (settled_at IS NULL)", name="settled"),
        sa.Index("ix_digest_items_due", "due_at", postgresql_where=sa.text("state = 'waiting'")),
        sa.Index(
            "ix_digest_items_waiting",
            "contact_id",
            "controller_id",
            "due_at",
            postgresql_where=sa.text("state = 'waiting'"),
        ),
        # With the contact, lest it be taken for a look-up of one item and read a dispatch for each.
        sa.Index(
            "ix_digest_items_open", "dispatch_id", "contact_id", postgresql_where=sa.text("state = 'waiting'")
        ),
        sa.Index("ix_digest_items_settled", "settled_at", postgresql_where=sa.text("settled_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 80}},
    )
