"""``wardlink keys``: what an operator sees of a rotation."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

from app import roles
from app.embedded.keys import ensure_keys
from tests.app.cli.conftest import Run
from tests.app.services.test_rotation import NEW
from tests.conftest import Database
from tests.factories import Makes


def test_keys_are_counted_rotated_and_the_old_one_is_named_as_unused(run: Run, committed: Database) -> None:
    opened = committed.open()
    with opened.sessions.begin() as session:
        for n in range(3):
            Makes(session).contact(f"person{n}@people.example", salutation="Sam")
    opened.engine.dispose()
    both = f"{ensure_keys(Path(os.environ['LOCAL_DIR']))['VALUE_KEYS']},2:{NEW}"
    before = run("keys", "status", VALUE_KEYS=both)
    assert before.exit_code == 0
    assert "contact_points       6 under key 1" in before.output
    assert "the current key is 2" in before.output
    rotated = run("keys", "rotate", VALUE_KEYS=both)
    assert (rotated.exit_code, rotated.output.splitlines()[-1]) == (0, "everything is under key 2")
    after = run("keys", "status", VALUE_KEYS=both)
    assert "nothing is under key 1: it is needed only for backups from before" in after.output
    lost = run("keys", "status")
    assert lost.exit_code == 1
    assert "under keys that VALUE_KEYS lacks: 2" in lost.output
    with psycopg.connect(roles.libpq(committed.admin), autocommit=True) as admin:
        admin.execute(
            "UPDATE contact_points SET address_enc = '\\x010203' WHERE id = (SELECT min(id) FROM contact_points)"
        )
    broken = run("keys", "rotate", VALUE_KEYS=both)
    assert broken.exit_code == 1
    assert "Some values do not open and were left as they are: 1 of contact_points." in broken.output
    committed.open().engine.dispose()
