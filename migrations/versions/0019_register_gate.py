"""The register's gate: geometry, who asks, tickets in two steps, searches, and leave to go beyond a cap.

Revision: 0019, after 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations import register_answer_sql, register_gate_sql, register_geometry_sql, register_search_sql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_READ = ["bearing", "field", "reach", "kind", "days_kept", "night"]


def upgrade() -> None:
    op.execute(f"GRANT SELECT ON register_cells TO {register_gate_sql.GATE}")
    made = [
        *register_geometry_sql.FUNCTIONS,
        *register_gate_sql.sequences(),
        *register_gate_sql.functions(),
        *register_search_sql.functions(),
        *register_answer_sql.functions(),
    ]
    for statement in register_gate_sql.as_gate(made):
        op.execute(statement)
    op.add_column("cameras", sa.Column("controller_id", sa.Uuid(), nullable=False))
    op.execute(register_answer_sql.TRIGGER)
    _index([*_READ, "controller_id"])


def _index(read: list[str]) -> None:
    """The index of the cameras of a cell, with what answers read from it."""
    op.drop_index("ix_cameras_cell", table_name="cameras")
    op.create_index(
        "ix_cameras_cell",
        "cameras",
        ["cell_id"],
        postgresql_include=read,
        postgresql_where=sa.text("live"),
    )


def downgrade() -> None:
    for statement in register_gate_sql.drop():
        op.execute(statement)
    _index(_READ)
    op.drop_column("cameras", "controller_id")
    op.execute(f"REVOKE ALL ON register_cells FROM {register_gate_sql.GATE}")
