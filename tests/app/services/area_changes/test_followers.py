"""Nothing that points to an area is forgotten when areas change."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.registry import metadata
from app.services.area_changes.followers import APART, FOLLOWERS, LINKS


def test_every_table_with_a_foreign_key_to_areas_is_named_among_the_followers(session: Session) -> None:
    found = session.execute(
        sa.text(
            "SELECT DISTINCT conrelid::regclass::text FROM pg_constraint "
            "WHERE contype = 'f' AND confrelid = 'areas'::regclass AND conparentid = 0"
        )
    )
    pointing = set(found.scalars())
    followed = {one.table for one in FOLLOWERS}
    assert len(pointing) > 8
    assert pointing == (followed | APART.keys()) & pointing
    assert (followed | APART.keys()) - pointing == {"alerts"}, "drafts hold codes, not ids"


def test_a_link_names_all_columns_of_its_table_that_must_be_given() -> None:
    for link in LINKS:
        table = metadata.tables[link.table]
        needed = {
            column.name
            for column in table.columns
            if not column.nullable and column.server_default is None and column.identity is None
        }
        assert needed <= {*link.owner, *link.carried, link.made, "area_id"}, link.table
