"""The cells of the register: rectangles with at least five live postcodes each.

Revision: 0018, after 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from app.db import GridBox
from migrations import register_cells_sql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_OUTLINE = "box(point(west, south), point(east, north))"


def upgrade() -> None:
    op.create_table(
        "register_cells",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        *(sa.Column(side, sa.Integer(), nullable=False) for side in ("west", "south", "east", "north")),
        sa.Column("outline", GridBox(), sa.Computed(_OUTLINE, persisted=True), nullable=False),
        sa.Column("postcodes", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("west < east AND south < north", name=op.f("ck_register_cells_sides")),
        sa.CheckConstraint("postcodes >= 5", name=op.f("ck_register_cells_postcodes")),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_register_cells_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_cells")),
        sa.UniqueConstraint(
            "release_id", "west", "south", name=op.f("uq_register_cells_release_id_west_south")
        ),
    )
    op.create_index("ix_register_cells_outline", "register_cells", ["outline"], postgresql_using="gist")
    for statement in register_cells_sql.grants():
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("register_cells")
