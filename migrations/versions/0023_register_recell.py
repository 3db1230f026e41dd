"""The register's cameras and searches go over to the cells of a newer release.

Revision: 0023, after 0022
"""

from __future__ import annotations

from alembic import op

from migrations import register_gate_sql, register_recell_sql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in register_recell_sql.rights(register_gate_sql.GATE):
        op.execute(statement)
    for statement in register_gate_sql.as_gate(register_recell_sql.functions()):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION register.reassign(text)")
    op.execute(f"REVOKE UPDATE (cells) ON register_searches FROM {register_gate_sql.GATE}")
