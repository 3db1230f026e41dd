"""The register's gate: who asks, tickets in two steps, searches, and leave to go beyond a cap.

Revision: 0019, after 0017
"""

from __future__ import annotations

from alembic import op

from migrations import register_gate_sql

revision = "0019"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    made = [
        *register_gate_sql.sequences(),
        *register_gate_sql.functions(),
    ]
    for statement in register_gate_sql.as_gate(made):
        op.execute(statement)


def downgrade() -> None:
    for statement in register_gate_sql.drop():
        op.execute(statement)
