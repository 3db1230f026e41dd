"""Organisations: the controllers answerable for people's data, and the senders they use."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, new_id


class Organisation(Base):
    """A police force, council or association. A *controller* of its own people's consents."""

    __tablename__ = "organisations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    kind: Mapped[str]
    # Why this controller may write to people at all: its own setting, never hard-coded.
    legal_basis: Mapped[str]
    competent_authority: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    ended_at: Mapped[datetime | None]
    # Whom reports of misuse go to that nobody of the organisation's own staff may read.
    standards_email: Mapped[str | None]

    __table_args__ = (
        sa.CheckConstraint(
            "kind IN ('police', 'council', 'transport police', 'fire', 'association')", name="kind"
        ),
    )


class Sender(Base):
    """An address that messages leave from: a number, an alphanumeric name, an e-mail address."""

    __tablename__ = "senders"

    id: Mapped[int] = mapped_column(sa.Integer, sa.Identity(), primary_key=True)
    channel: Mapped[str]
    provider: Mapped[str]
    address: Mapped[str]
    display_name: Mapped[str] = mapped_column(server_default="")
    kind: Mapped[str]  # two-way | alphanumeric | email
    lane: Mapped[str]  # urgent | bulk
    segments_per_second: Mapped[float] = mapped_column(sa.Double, server_default="10")
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    # Texts: the number on another account that stands in while this one's provider is down.
    fallback_sender_id: Mapped[int | None] = mapped_column(sa.ForeignKey("senders.id"))

    __table_args__ = (
        sa.UniqueConstraint("channel", "address", "lane"),
        sa.CheckConstraint("fallback_sender_id <> id", name="fallback"),
        sa.CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        sa.CheckConstraint("kind IN ('two-way', 'alphanumeric', 'email')", name="kind"),
        sa.CheckConstraint("lane IN ('urgent', 'bulk')", name="lane"),
        sa.CheckConstraint("segments_per_second > 0", name="rate"),
    )


class SenderController(Base):
    """Which controllers write from a sender: a STOP to it stops all of them on it."""

    __tablename__ = "sender_controllers"

    sender_id: Mapped[int] = mapped_column(sa.ForeignKey("senders.id"), primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(
        sa.ForeignKey("organisations.id"), primary_key=True, index=True
    )


class SenderPace(Base):
    """When the provider's queue for a sender will be empty, as far as we have filled it.

    Kept apart from the sender because it changes with every window.
    """

    __tablename__ = "sender_pace"

    sender_id: Mapped[int] = mapped_column(sa.ForeignKey("senders.id"), primary_key=True)
    free_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)
