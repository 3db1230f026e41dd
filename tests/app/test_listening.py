"""The real site under gunicorn says that it answers, and says so when it ends."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from app.cli.stack import Stack, free_port, wait_until
from app.embedded.keys import ensure_keys
from app.models.reconcile import WebListening
from tests.conftest import Database


def test_each_process_of_the_site_says_that_it_answers_and_that_it_ends(
    committed: Database, tmp_path: Path
) -> None:
    local = Path(os.environ["LOCAL_DIR"])
    stack = Stack(tmp_path, committed.environ() | ensure_keys(local) | {"PUBLIC_URL": "https://w.example"})
    app = committed.open()

    def rows() -> list[tuple[bool, bool]]:
        with app.sessions() as session:
            found = session.execute(
                sa.select(WebListening.seen_at >= WebListening.began_at, WebListening.ended_at)
            )
            return [(bool(seen), ended is not None) for seen, ended in found]

    try:
        stack.site(free_port(), workers=2)
        wait_until(lambda: rows() == [(True, False)] * 2, what="both processes")
    finally:
        stack.stop()
    assert rows() == [(True, True)] * 2
    app.engine.dispose()
