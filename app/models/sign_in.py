"""Ways in for staff besides a password: passkeys, recovery codes, an organisation's own identity provider."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, new_id


class Passkey(Base):
    """A WebAuthn credential of somebody of staff: a second factor that cannot be given away on a false page."""

    __tablename__ = "staff_passkeys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    credential_id: Mapped[bytes] = mapped_column(sa.LargeBinary, unique=True)
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    public_key: Mapped[bytes] = mapped_column(sa.LargeBinary)
    sign_count: Mapped[int] = mapped_column(sa.BigInteger)
    transports: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    used_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """Stands in once for a second factor that is lost. Only its digest is kept."""

    __tablename__ = "staff_recovery_codes"

    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    used_at: Mapped[datetime | None]


class KnownPlace(Base):
    """A network or a browser that somebody of staff has come from: of a new one they are told, once."""

    __tablename__ = "staff_known_places"

    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(index=True)


class Ceremony(Base):
    """What was asked and must be answered: a WebAuthn challenge, a round trip to an identity provider. Used once."""

    __tablename__ = "sign_in_ceremonies"

    digest: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    kind: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (sa.CheckConstraint("kind IN ('register', 'second', 'step-up', 'oidc')", name="kind"),)


class IdentityProvider(Base):
    """Where an organisation's staff sign in by OpenID Connect, and as whom we are known there."""

    __tablename__ = "identity_providers"

    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), primary_key=True)
    issuer: Mapped[str] = mapped_column(unique=True)
    client_id: Mapped[str]
    client_secret: Mapped[str] = mapped_column(
        "client_secret_enc", EncryptedText("identity_providers.secret")
    )
    groups_claim: Mapped[str] = mapped_column(server_default="groups")
    # What it must say in "acr" or "amr" of a second factor; without it a sign-in is refused.
    factors: Mapped[list[str]] = mapped_column(ARRAY(sa.Text), server_default="{mfa}")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    ended_at: Mapped[datetime | None]


class IdentityDomain(Base):
    """The domain of e-mail addresses whose bearers sign in by an organisation's provider: one provider for each."""

    __tablename__ = "identity_domains"

    domain: Mapped[str] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)


class GroupRole(Base):
    """The role that members of a group of an organisation's identity provider have, and where."""

    __tablename__ = "group_roles"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    group_name: Mapped[str]
    role: Mapped[str]
    area_id: Mapped[int | None] = mapped_column(sa.ForeignKey("areas.id"), index=True)
    team_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("teams.id"), index=True)

    __table_args__ = (
        sa.Index(
            "ix_group_roles_once",
            "organisation_id",
            "group_name",
            "role",
            "area_id",
            "team_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        sa.CheckConstraint("area_id IS NULL OR team_id IS NULL", name="where"),
    )
