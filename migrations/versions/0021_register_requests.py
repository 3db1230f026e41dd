"""Requests to owners: asked, answered, disclosed, closed; and what a disclosure keeps.

Revision: 0021, after 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.models.register import Xid8
from migrations import register_requests_sql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_KINDS = (
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
)
_ACTS = ("own", "board", "schedule", "door")


def _check(table: str, name: str, words: tuple[str, ...]) -> None:
    full = op.f(f"ck_{table}_{name}")
    op.drop_constraint(full, table, type_="check")
    op.create_check_constraint(full, table, f"{name} IN ({', '.join(map(repr, words))})")


def upgrade() -> None:
    op.alter_column("camera_requests", "asked_band", server_default="")
    op.add_column("camera_requests", sa.Column("lift_id", sa.Uuid(), nullable=True))
    op.add_column("camera_requests", sa.Column("thanked_at", _TIME, nullable=True))
    op.create_foreign_key(
        op.f("fk_camera_requests_lift_id_register_lifts"),
        "camera_requests",
        "register_lifts",
        ["lift_id"],
        ["id"],
    )
    op.create_index(op.f("ix_camera_requests_lift_id"), "camera_requests", ["lift_id"])
    op.create_index(
        "ix_camera_requests_open", "camera_requests", ["id"], postgresql_where=sa.text("thanked_at IS NULL")
    )
    op.create_unique_constraint(op.f("uq_camera_requests_dispatch_id"), "camera_requests", ["dispatch_id"])
    # The database copies what is disclosed as it stands, encrypted: nobody reads it on the way (decision 0039).
    op.drop_column("disclosures", "facts_enc")
    op.add_column("disclosures", sa.Column("answer", sa.Text(), nullable=False))
    op.add_column("disclosures", sa.Column("channel", sa.Text(), nullable=False))
    op.add_column("disclosures", sa.Column("name_enc", sa.LargeBinary(), nullable=False))
    op.add_column("disclosures", sa.Column("address_enc", sa.LargeBinary(), nullable=False))
    op.add_column("disclosures", sa.Column("note_enc", sa.LargeBinary(), nullable=True))
    op.add_column("disclosures", sa.Column("facts", postgresql.JSONB(), nullable=False))
    op.add_column("disclosures", sa.Column("made_xid", Xid8(), nullable=False))
    op.drop_index(op.f("ix_disclosures_investigation_id"), table_name="disclosures")
    op.create_index("ix_disclosures_listed", "disclosures", ["investigation_id", "at", "id"])
    op.create_index("ix_investigations_listed", "investigations", ["organisation_id", "opened_at", "id"])
    _check("service_messages", "kind", (*_KINDS, "camera"))
    _check("register_tickets", "act", (*_ACTS, "answer"))
    for statement in (*register_requests_sql.grants(), *register_requests_sql.functions()):
        op.execute(statement)


def downgrade() -> None:
    for statement in (*register_requests_sql.drop(), *register_requests_sql.TAKEN_BACK):
        op.execute(statement)
    op.execute("DELETE FROM service_messages WHERE kind = 'camera'")
    op.execute("DELETE FROM register_tickets WHERE act = 'answer'")
    _check("register_tickets", "act", _ACTS)
    _check("service_messages", "kind", _KINDS)
    op.drop_index("ix_investigations_listed", table_name="investigations")
    op.drop_index("ix_disclosures_listed", table_name="disclosures")
    op.create_index(op.f("ix_disclosures_investigation_id"), "disclosures", ["investigation_id"])
    op.execute("DELETE FROM disclosures")
    for column in ("made_xid", "facts", "note_enc", "address_enc", "name_enc", "channel", "answer"):
        op.drop_column("disclosures", column)
    op.add_column("disclosures", sa.Column("facts_enc", sa.LargeBinary(), nullable=False))
    op.drop_constraint(op.f("uq_camera_requests_dispatch_id"), "camera_requests", type_="unique")
    op.drop_index("ix_camera_requests_open", table_name="camera_requests")
    op.drop_index(op.f("ix_camera_requests_lift_id"), table_name="camera_requests")
    op.drop_constraint(
        op.f("fk_camera_requests_lift_id_register_lifts"), "camera_requests", type_="foreignkey"
    )
    op.drop_column("camera_requests", "thanked_at")
    op.drop_column("camera_requests", "lift_id")
    op.alter_column("camera_requests", "asked_band", server_default=None)
