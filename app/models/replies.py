"""Replies to alerts: one thread for each alert and contact point, in the inbox of the alert's team."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, new_id

STATES = ("new", "answered", "closed")


class Reply(Base):
    """A thread. ``alert_id`` is empty for a text that answers no alert of ours."""

    __tablename__ = "replies"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    team_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("teams.id"))
    alert_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("alerts.id"))
    contact_id: Mapped[int] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str | None] = mapped_column("name_enc", EncryptedText("replies.name"))
    state: Mapped[str] = mapped_column(server_default="new")
    opened_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    last_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id"))

    __table_args__ = (
        sa.CheckConstraint("state IN ('new', 'answered', 'closed')", name="state"),
        sa.Index(
            "ix_replies_thread",
            "alert_id",
            "contact_id",
            "controller_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        # The inbox: one organisation's, one team's or all, newest last word first.
        sa.Index("ix_replies_inbox", "controller_id", "state", "last_at", "id"),
        sa.Index("ix_replies_team_inbox", "controller_id", "team_id", "state", "last_at", "id"),
        sa.Index("ix_replies_closed", "closed_at", postgresql_where=sa.text("closed_at IS NOT NULL")),
    )


class ReplyMessage(Base):
    """One message of a thread: theirs (``in``) or the team's (``out``)."""

    __tablename__ = "reply_messages"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    reply_id: Mapped[UUID] = mapped_column(sa.ForeignKey("replies.id", ondelete="CASCADE"))
    direction: Mapped[str]
    channel: Mapped[str]
    body: Mapped[str] = mapped_column("body_enc", EncryptedText("reply_messages.body"))
    staff_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id"))
    # A text's own id at the provider, or a form's token: what comes twice is kept once.
    once: Mapped[str | None] = mapped_column(unique=True)
    at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.CheckConstraint("direction IN ('in', 'out')", name="direction"),
        sa.CheckConstraint("channel IN ('web', 'sms', 'email')", name="channel"),
        sa.CheckConstraint("(direction = 'out') = (staff_id IS NOT NULL)", name="who"),
        sa.Index("ix_reply_messages_thread", "reply_id", "at", "id"),
    )
