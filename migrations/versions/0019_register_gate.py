"""The register's gate: geometry, who asks, tickets in two steps, searches, and leave to go beyond a cap.

Revision: 0019, after 0018
"""

from __future__ import annotations

from alembic import op

from migrations import register_answer_sql, register_gate_sql, register_geometry_sql, register_search_sql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


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


def downgrade() -> None:
    for statement in register_gate_sql.drop():
        op.execute(statement)
    op.execute(f"REVOKE ALL ON register_cells FROM {register_gate_sql.GATE}")
