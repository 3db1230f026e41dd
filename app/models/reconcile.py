"""What must be known before a provider's silence says anything: who listened, what was turned away, who was heard."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class WebListening(Base):
    """A stretch in which one process of the site answered webhooks, by the database's clock.

    Without ``ended_at`` and not seen for a minute it died, and may have taken a call with it.
    """

    __tablename__ = "web_listening"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("ix_web_listening_seen", "seen_at"),
        {"postgresql_with": {"fillfactor": 50}},
    )


class WebhookRefusal(Base):
    """A minute in which a provider's call was turned away: it may come again, hours later."""

    __tablename__ = "webhook_refusals"

    source: Mapped[str] = mapped_column(primary_key=True)  # sendgrid | twilio
    minute: Mapped[datetime] = mapped_column(primary_key=True)


class HeardCall(Base):
    """A call of e-mail of which at least one event came."""

    __tablename__ = "heard_calls"

    dispatch_id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_n: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    attempt_n: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    provider: Mapped[str]
    opened_at: Mapped[datetime]  # the attempt's

    __table_args__ = (sa.Index("ix_heard_calls_opened", "provider", "opened_at"),)


class SilentBatch(Base):
    """A batch of texts of which the provider has reported nothing final: when to ask next, and from which ordinal on."""

    __tablename__ = "silent_batches"

    dispatch_id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_n: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    asked: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")  # rounds that are over
    after: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")  # ordinal, in this round
    next_at: Mapped[datetime]

    __table_args__ = (sa.Index("ix_silent_batches_next", "next_at"),)


class InboundPoll(Base):
    """How far the texts to one of our numbers have been read from its provider's list."""

    __tablename__ = "inbound_polls"

    provider: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    through_at: Mapped[datetime]  # everything sent before was read
    polled_at: Mapped[datetime]

    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)
