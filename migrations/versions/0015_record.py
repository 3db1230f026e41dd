"""The record can be searched: by time, subject, actor, event, area and s.62 kind, each from an index in order.

Revision: 0015, after 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# name: (columns, rows that it holds). Each ends in (at, id), the order of every page of a search.
INDEXES = {
    "time": (["organisation_id"], None),
    "subject": (["subject"], None),
    "actor": (["organisation_id", "actor_kind", "actor_id"], None),
    "event": (["organisation_id", "event"], None),
    "area": (["organisation_id", "area_code", "actor_kind"], "area_code IS NOT NULL"),
    "s62": (["organisation_id", "s62"], "s62 IS NOT NULL"),
}


def upgrade() -> None:
    for name, (columns, where) in INDEXES.items():
        op.create_index(
            f"ix_audit_entries_{name}",
            "audit_entries",
            [*columns, "at", "id"],
            postgresql_where=sa.text(where) if where else None,
        )


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(f"ix_audit_entries_{name}", table_name="audit_entries")
