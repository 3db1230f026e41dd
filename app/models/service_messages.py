"""Messages to one person that are not alerts: codes, invitations, answers. Sent by a worker, never in doubt twice."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, new_id

KINDS = (
    "confirm",
    "manage",
    "invitation",
    "help",
    "reply-receipt",
    "reply-answer",
    "alarm",
    "misuse",
    "account",
    "reminder",
    "camera",
)


class ServiceMessage(Base):
    """One e-mail or text to one address. What it says is encrypted, and removed once its fate is known."""

    __tablename__ = "service_messages"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    channel: Mapped[str]
    controller_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("organisations.id"))
    sender_id: Mapped[int | None] = mapped_column(sa.ForeignKey("senders.id"))
    contact_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), index=True
    )
    address: Mapped[str | None] = mapped_column("address_enc", EncryptedText("service_messages.address"))
    subject: Mapped[str | None] = mapped_column("subject_enc", EncryptedText("service_messages.subject"))
    text: Mapped[str | None] = mapped_column("text_enc", EncryptedText("service_messages.text"))
    html: Mapped[str | None] = mapped_column("html_enc", EncryptedText("service_messages.html"))
    stop_url: Mapped[str | None] = mapped_column("stop_url_enc", EncryptedText("service_messages.stop_url"))
    segments: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    state: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    not_before: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime]
    opened_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    provider_ref: Mapped[str | None]
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)

    __table_args__ = (
        sa.CheckConstraint(f"kind IN ({', '.join(repr(k) for k in KINDS)})", name="kind"),
        sa.CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        sa.CheckConstraint(
            "state IN ('waiting', 'sending', 'sent', 'refused', 'in_doubt', 'expired')", name="state"
        ),
        sa.Index("ix_service_messages_waiting", "not_before", postgresql_where=sa.text("state = 'waiting'")),
        sa.Index("ix_service_messages_alarms", "created_at", postgresql_where=sa.text("kind = 'alarm'")),
        sa.Index("ix_service_messages_sending", "opened_at", postgresql_where=sa.text("state = 'sending'")),
        sa.Index(
            "ix_service_messages_named", "provider_ref", postgresql_where=sa.text("provider_ref IS NOT NULL")
        ),
    )
