"""The table of stores is whole: whatever holds something about somebody stands in it, and its word is the database's."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from app.db import EncryptedText
from app.registry import metadata
from app.services.erasure.stores import STORES, Fate, printed
from config.fields import PROJECT

BY_TABLE = {one.table: one for one in STORES}
ABOUT = {"contact_points", "people", "staff"}
# Columns that name somebody without a foreign key: ledger rows are too many for one.
NAMES = re.compile(r"^(contact_ids?|person_id|staff_id|digest)$")


def personal(tables: sa.MetaData) -> set[str]:
    """Tables that hold an encrypted value, or name an address, a person or somebody of staff."""
    found = set()
    for table in tables.tables.values():
        for column in table.columns:
            keys = {key.column.table.name for key in column.foreign_keys}
            named = NAMES.match(column.name) and (column.name != "digest" or "digest_key" in table.columns)
            if isinstance(column.type, EncryptedText) or keys & ABOUT or named:
                found.add(table.name)
    return found


def test_every_table_that_holds_personal_data_stands_in_the_table_of_stores() -> None:
    found = personal(metadata)
    assert {"contact_points", "deliveries", "batches", "suppressions", "replies", "staff_passkeys"} <= found
    missing = found - set(BY_TABLE)
    assert not missing, f"add to app/services/erasure/stores.py what erasure does with {sorted(missing)}"


def test_a_table_that_is_forgotten_would_be_found() -> None:
    for column in (
        sa.Column("contact_id", sa.BigInteger),
        sa.Column("owner", sa.ForeignKey("people.id")),
        sa.Column("what_enc", EncryptedText("cameras.what")),
    ):
        others = sa.MetaData()
        sa.Table("people", others, sa.Column("id", sa.Uuid, primary_key=True))
        sa.Table("cameras", others, sa.Column("id", sa.Uuid, primary_key=True), column)
        assert "cameras" in personal(others), column


def test_every_store_is_a_table_and_stands_there_once() -> None:
    assert len(BY_TABLE) == len(STORES)
    assert set(BY_TABLE) <= set(metadata.tables)


def cascades_from(table: str) -> set[str]:
    keys = metadata.tables[table].foreign_key_constraints
    return {key.referred_table.name for key in keys if key.ondelete == "CASCADE"}


@pytest.mark.parametrize(
    "store", [one for one in STORES if one.fate is Fate.GOES_WITH], ids=lambda one: one.table
)
def test_what_goes_with_another_has_a_key_that_cascades_from_what_is_deleted(store: object) -> None:
    deleted = {one.table for one in STORES if one.fate in (Fate.DELETED, Fate.GOES_WITH)}
    assert cascades_from(store.table) & deleted, store.table  # type: ignore[attr-defined]


def test_what_is_deleted_or_changed_says_how_and_the_others_run_nothing() -> None:
    for one in STORES:
        assert bool(one.sql) == (one.fate in (Fate.DELETED, Fate.CHANGED)), one.table
        assert one.what, one.table


def test_every_key_to_an_address_or_a_person_cascades_or_is_seen_to() -> None:
    """No erasure is stopped by a row that somebody forgot: what refers to what is deleted goes with it."""
    for table in metadata.tables.values():
        for key in table.foreign_key_constraints:
            if key.referred_table.name in {"contact_points", "people", "places", "replies", "signups"}:
                spare = all(column.nullable for column in key.columns)
                fates = {"CASCADE", "SET NULL"} if spare else {"CASCADE"}
                assert key.ondelete in fates, (table.name, key.referred_table.name)


def test_the_guide_prints_the_table() -> None:
    guide = (PROJECT / "docs/administrator-guide.md").read_text(encoding="utf-8")
    assert "\n".join(printed()) in guide
