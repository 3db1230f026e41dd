"""Sending reads a batch's people from one index, in order, instead of from a thousand places of their table.

Revision: 0008, after 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What has more was never let in; should there be any, this says so before the index would.
    op.create_check_constraint(
        op.f("ck_contact_points_fits"),
        "contact_points",
        "octet_length(address_enc) + coalesce(octet_length(salutation_enc), 0) <= 2500",
    )
    # A batch's ids are a stretch of all ids; the table is in the order in which people came.
    op.create_index(
        "ix_contact_points_sending",
        "contact_points",
        ["id"],
        postgresql_include=["address_enc", "salutation_enc", "synthetic", "digest"],
    )
    # Random ids do not shrink: PostgreSQL tried it in vain at each freeze.
    op.execute("ALTER TABLE batches ALTER COLUMN contact_ids SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.execute("ALTER TABLE batches ALTER COLUMN contact_ids SET STORAGE EXTENDED")
    op.drop_index("ix_contact_points_sending", table_name="contact_points")
    op.drop_constraint(op.f("ck_contact_points_fits"), "contact_points", type_="check")
