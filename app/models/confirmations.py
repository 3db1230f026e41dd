"""Sign-ups that nobody has confirmed yet, their codes, and the counters that keep codes rare.

An address stands here until its holder proves it; only then does it become a contact point.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, new_id


class Signup(Base):
    """What somebody asked for. Its page is found by a random token, of which only the digest is kept."""

    __tablename__ = "signups"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, unique=True)
    purpose: Mapped[str] = mapped_column(server_default="alerts")
    """What is agreed to: alerts about the postcode, or a camera there (``camera_drafts``)."""
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    postcode: Mapped[str]
    topics: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    wording_id: Mapped[int] = mapped_column(sa.ForeignKey("wordings.id"))
    salutation: Mapped[str | None] = mapped_column("salutation_enc", EncryptedText("signups.salutation"))
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (sa.CheckConstraint("purpose IN ('alerts', 'register')", name="purpose"),)


class Confirmation(Base):
    """One address to be proved, by a six-digit code or by a link; for a sign-up, or to open one's own page.

    For an address that we do not know there is a row as well, and no message: the two look alike.
    """

    __tablename__ = "confirmations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    purpose: Mapped[str]
    signup_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey("signups.id", ondelete="CASCADE"), index=True
    )
    contact_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), index=True
    )
    page_digest: Mapped[bytes | None] = mapped_column(sa.LargeBinary, unique=True)
    """Of the token in the address of the page that asks for the code (manage; a sign-up has its own)."""
    channel: Mapped[str]
    address: Mapped[str] = mapped_column("address_enc", EncryptedText("confirmations.address"))
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary)
    digest_key: Mapped[int] = mapped_column(sa.SmallInteger)
    form_version: Mapped[int] = mapped_column(sa.SmallInteger)
    code_digest: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    code_expires_at: Mapped[datetime | None]
    link_digest: Mapped[bytes | None] = mapped_column(sa.LargeBinary, unique=True)
    tries: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    sent: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    refused_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("purpose IN ('subscribe', 'manage')", name="purpose"),
        sa.CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        sa.CheckConstraint("(purpose = 'subscribe') = (signup_id IS NOT NULL)", name="signup"),
        # Erasure must find what was typed for an address.
        sa.Index("ix_confirmations_address", "channel", "digest"),
    )


class ConfirmationRefusal(Base):
    """The holder of an address said "it wasn't me": for a while no code goes there, whoever asks."""

    __tablename__ = "confirmation_refusals"

    channel: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    until: Mapped[datetime] = mapped_column(index=True)


class RateCounter(Base):
    """How often something happened in one window of time: in PostgreSQL, so that losing Redis opens nothing."""

    __tablename__ = "rate_counters"

    scope: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)  # a digest; empty for "everybody"
    window: Mapped[datetime] = mapped_column(primary_key=True)  # when it ends
    count: Mapped[int] = mapped_column(sa.Integer)

    __table_args__ = (sa.Index("ix_rate_counters_window", "window"),)
