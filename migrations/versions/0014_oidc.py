"""OpenID Connect: whose e-mail addresses a provider speaks for, what it calls a session, and who left.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import oidc_sql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "identity_domains",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_identity_domains_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_identity_domains")),
    )
    op.create_index(op.f("ix_identity_domains_organisation_id"), "identity_domains", ["organisation_id"])
    op.add_column("staff", sa.Column("oidc_left", sa.LargeBinary(), nullable=True))
    op.create_index(
        "ix_staff_oidc_left", "staff", ["oidc_left"], postgresql_where=sa.text("oidc_left IS NOT NULL")
    )
    op.add_column("web_sessions", sa.Column("oidc_sid", sa.Text(), nullable=True))
    op.create_index(
        "ix_web_sessions_oidc_sid",
        "web_sessions",
        ["oidc_sid"],
        postgresql_where=sa.text("oidc_sid IS NOT NULL"),
    )
    for statement in oidc_sql.grants():
        op.execute(statement)


def downgrade() -> None:
    op.drop_column("web_sessions", "oidc_sid")
    op.drop_column("staff", "oidc_left")
    op.drop_table("identity_domains")
