"""Staff of the first kind: one organisation, one team, a password and a second factor; and all sessions."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, new_id


class Staff(Base):
    """Somebody who may sign in. Found by the digest of the e-mail address, like everybody else."""

    __tablename__ = "staff"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    team_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("teams.id"), index=True)
    email: Mapped[str] = mapped_column("email_enc", EncryptedText("staff.email"))
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, unique=True)
    digest_key: Mapped[int] = mapped_column(sa.SmallInteger)
    name: Mapped[str] = mapped_column("name_enc", EncryptedText("staff.name"))
    password_hash: Mapped[str | None]
    totp_secret: Mapped[str | None] = mapped_column("totp_secret_enc", EncryptedText("staff.totp"))
    totp_step: Mapped[int | None] = mapped_column(sa.BigInteger)
    """The last time step whose code was used: a code serves once."""
    state: Mapped[str] = mapped_column(server_default="invited")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    enrolled_at: Mapped[datetime | None]
    signed_in_at: Mapped[datetime | None]  # the last time, kept when the session is gone
    oidc_issuer: Mapped[str | None]
    oidc_subject: Mapped[str | None]
    # Whoever left is not made anew by the groups of their provider: a digest of issuer and subject.
    oidc_left: Mapped[bytes | None] = mapped_column(sa.LargeBinary)

    __table_args__ = (
        sa.CheckConstraint("state IN ('invited', 'active', 'left')", name="state"),
        # The second factor of who has a password may be a passkey, in a table of its own.
        sa.CheckConstraint(
            "state <> 'active' OR password_hash IS NOT NULL OR oidc_subject IS NOT NULL", name="factors"
        ),
        sa.CheckConstraint("(oidc_issuer IS NULL) = (oidc_subject IS NULL)", name="oidc"),
        sa.Index(
            "ix_staff_oidc",
            "oidc_issuer",
            "oidc_subject",
            unique=True,
            postgresql_where=sa.text("oidc_subject IS NOT NULL"),
        ),
        sa.Index("ix_staff_oidc_left", "oidc_left", postgresql_where=sa.text("oidc_left IS NOT NULL")),
    )


class StaffInvitation(Base):
    """A way in, once, for whoever holds the token in the invitation's link. Only its digest is kept."""

    __tablename__ = "staff_invitations"

    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class WebSession(Base):
    """A browser that is signed in: as staff, or as the holder of one confirmed address.

    The cookie holds a random token and this table its digest, so a copy of the table opens nothing.
    """

    __tablename__ = "web_sessions"

    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True, default=new_id)  # by which its bearer may end it
    staff_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    contact_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), index=True
    )
    # Staff: the password was right, the second factor is still to come.
    half: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)
    # Staff: when both factors were last shown, and from where, as their own list of sessions says it.
    stepped_up_at: Mapped[datetime | None]
    network: Mapped[str | None]
    agent: Mapped[str | None]
    # Staff who came by their organisation's provider: what it calls this session, so that it can end it.
    oidc_sid: Mapped[str | None]

    __table_args__ = (
        sa.CheckConstraint("(staff_id IS NULL) <> (contact_id IS NULL)", name="who"),
        sa.Index("ix_web_sessions_oidc_sid", "oidc_sid", postgresql_where=sa.text("oidc_sid IS NOT NULL")),
    )
