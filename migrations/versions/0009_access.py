"""Access: roles on areas for a term, agreements, and more ways to sign in than a password and an app.

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations import access_sql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NOW = sa.text("now()")
_ROLES = (
    "officer",
    "approver",
    "investigator",
    "supervisor",
    "register-steward",
    "coordinator-liaison",
    "borough-administrator",
    "force-administrator",
    "auditor",
)
_CURRENT = "state <> 'active' OR password_hash IS NOT NULL OR oidc_subject IS NOT NULL"
_BEFORE = "state <> 'active' OR (password_hash IS NOT NULL AND totp_secret_enc IS NOT NULL)"


def _foreign(table: str, column: str, to: str, *, ondelete: str | None = None) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"), ondelete=ondelete
    )


def _factors(condition: str) -> None:
    op.drop_constraint(op.f("ck_staff_factors"), "staff", type_="check")
    op.create_check_constraint(op.f("ck_staff_factors"), "staff", condition)


def upgrade() -> None:
    op.create_table(
        "role_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=True),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.Column("starts_at", _TIME, nullable=False),
        sa.Column("ends_at", _TIME, nullable=False),
        sa.Column("source", sa.Text(), server_default="given", nullable=False),
        sa.Column("given_by", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("taken_at", _TIME, nullable=True),
        sa.Column("taken_by", sa.Text(), nullable=True),
        sa.CheckConstraint(f"role IN ({', '.join(map(repr, _ROLES))})", name=op.f("ck_role_grants_role")),
        sa.CheckConstraint("area_id IS NULL OR team_id IS NULL", name=op.f("ck_role_grants_where")),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_role_grants_term")),
        sa.CheckConstraint("source IN ('given', 'group')", name=op.f("ck_role_grants_source")),
        _foreign("role_grants", "staff_id", "staff", ondelete="CASCADE"),
        _foreign("role_grants", "organisation_id", "organisations"),
        _foreign("role_grants", "area_id", "areas"),
        _foreign("role_grants", "team_id", "teams"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grants")),
    )
    for column in ("organisation_id", "area_id", "team_id"):
        op.create_index(op.f(f"ix_role_grants_{column}"), "role_grants", [column])
    op.create_index(
        "ix_role_grants_now",
        "role_grants",
        ["staff_id", "role", "area_id", "team_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("taken_at IS NULL"),
    )
    op.create_table(
        "agreements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), server_default="", nullable=False),
        sa.Column("signed_on", sa.Date(), nullable=False),
        sa.Column("review_on", sa.Date(), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "kind IN ('sharing', 'dpia', 'terms', 'processor')", name=op.f("ck_agreements_kind")
        ),
        sa.CheckConstraint("review_on > signed_on", name=op.f("ck_agreements_review")),
        _foreign("agreements", "organisation_id", "organisations"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreements")),
    )
    op.create_index(op.f("ix_agreements_organisation_id"), "agreements", ["organisation_id"])
    op.add_column("organisations", sa.Column("ended_at", _TIME, nullable=True))
    _ways_in()
    op.execute(access_sql.GRANT_AS_BEFORE)
    for statement in access_sql.grants():
        op.execute(statement)


def _ways_in() -> None:
    op.add_column("staff", sa.Column("oidc_issuer", sa.Text(), nullable=True))
    op.add_column("staff", sa.Column("oidc_subject", sa.Text(), nullable=True))
    _factors(_CURRENT)
    op.create_check_constraint(
        op.f("ck_staff_oidc"), "staff", "(oidc_issuer IS NULL) = (oidc_subject IS NULL)"
    )
    op.create_index(
        "ix_staff_oidc",
        "staff",
        ["oidc_issuer", "oidc_subject"],
        unique=True,
        postgresql_where=sa.text("oidc_subject IS NOT NULL"),
    )
    # Whoever is signed in while this runs keeps their session, and can end it like any other.
    op.add_column(
        "web_sessions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
    )
    op.alter_column("web_sessions", "id", server_default=None)
    op.create_unique_constraint(op.f("uq_web_sessions_id"), "web_sessions", ["id"])
    op.add_column("web_sessions", sa.Column("stepped_up_at", _TIME, nullable=True))
    op.add_column("web_sessions", sa.Column("network", sa.Text(), nullable=True))
    op.add_column("web_sessions", sa.Column("agent", sa.Text(), nullable=True))
    op.create_table(
        "staff_passkeys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("transports", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        _foreign("staff_passkeys", "staff_id", "staff", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_staff_passkeys_credential_id")),
    )
    op.create_index(op.f("ix_staff_passkeys_staff_id"), "staff_passkeys", ["staff_id"])
    op.create_table(
        "staff_recovery_codes",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        _foreign("staff_recovery_codes", "staff_id", "staff", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_staff_recovery_codes")),
    )
    op.create_index(op.f("ix_staff_recovery_codes_staff_id"), "staff_recovery_codes", ["staff_id"])
    op.create_table(
        "sign_in_ceremonies",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.CheckConstraint(
            "kind IN ('register', 'second', 'step-up', 'oidc')", name=op.f("ck_sign_in_ceremonies_kind")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sign_in_ceremonies")),
    )
    op.create_index(op.f("ix_sign_in_ceremonies_expires_at"), "sign_in_ceremonies", ["expires_at"])
    op.create_table(
        "identity_providers",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("client_secret_enc", sa.LargeBinary(), nullable=False),
        sa.Column("groups_claim", sa.Text(), server_default="groups", nullable=False),
        sa.Column("factors", postgresql.ARRAY(sa.Text()), server_default="{mfa}", nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        _foreign("identity_providers", "organisation_id", "organisations"),
        sa.PrimaryKeyConstraint("organisation_id", name=op.f("pk_identity_providers")),
        sa.UniqueConstraint("issuer", name=op.f("uq_identity_providers_issuer")),
    )
    op.create_table(
        "group_roles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=True),
        sa.Column("team_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("area_id IS NULL OR team_id IS NULL", name=op.f("ck_group_roles_where")),
        _foreign("group_roles", "organisation_id", "organisations"),
        _foreign("group_roles", "area_id", "areas"),
        _foreign("group_roles", "team_id", "teams"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_group_roles")),
    )
    op.create_index(
        "ix_group_roles_once",
        "group_roles",
        ["organisation_id", "group_name", "role", "area_id", "team_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    for column in ("area_id", "team_id"):
        op.create_index(op.f(f"ix_group_roles_{column}"), "group_roles", [column])


def downgrade() -> None:
    for table in (
        "group_roles",
        "identity_providers",
        "sign_in_ceremonies",
        "staff_recovery_codes",
        "staff_passkeys",
        "agreements",
        "role_grants",
    ):
        op.drop_table(table)
    for column in ("agent", "network", "stepped_up_at", "id"):
        op.drop_column("web_sessions", column)
    op.drop_column("organisations", "ended_at")
    # The check of before knows no other way in: whoever has only another must be invited again.
    op.execute(
        "UPDATE staff SET state = 'invited' "
        "WHERE state = 'active' AND (password_hash IS NULL OR totp_secret_enc IS NULL)"
    )
    op.drop_constraint(op.f("ck_staff_oidc"), "staff", type_="check")
    op.drop_index("ix_staff_oidc", table_name="staff")
    _factors(_BEFORE)
    op.drop_column("staff", "oidc_subject")
    op.drop_column("staff", "oidc_issuer")
