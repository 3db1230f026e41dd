"""``wardlink register``: the cells are built from a terminal, by the role that may."""

from __future__ import annotations

from datetime import date

from app.db import Pt
from app.models.areas import Postcode, Release
from config.fields import Part
from tests.app.cli.conftest import Run
from tests.conftest import Database


def test_cells_are_built_once_and_said(run: Run, committed: Database) -> None:
    assert "no postcodes are loaded" in run("register", "cells").output
    opened = committed.open(Part.WORKER)
    with opened.sessions.begin() as session:
        session.add(Release(id="first", name="First", published=date(2026, 1, 1), live_postcodes=12))
        session.flush()
        for n in range(12):
            session.add(
                Postcode(
                    postcode=f"ZZ{n} 1AA",
                    at=Pt(530_000.0 + 200 * n, 180_000.0),
                    ward_code="E05000001",
                    quality=10,
                    live=True,
                    release_id="first",
                )
            )
    opened.engine.dispose()
    built = run("register", "cells")
    assert built.exit_code == 0
    assert built.output.startswith("2 cells of first built in ")
    again = run("register", "cells")
    assert (again.exit_code, "built already" in again.output) == (0, True)
