"""One town for all tests of the gate, committed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.embedded.state import Endpoints
from config.fields import Part
from tests import conftest
from tests.gating import connected
from tests.searching import Town, build

ROWS = (4, 5, 6)


@pytest.fixture(scope="session")
def built(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Town]:
    made = conftest._copy(cluster, template, f"test_{worker_id}_gate")
    registry = made.open(Part.APP)
    found = build(made, registry)
    yield found
    found.admin.close()
    registry.engine.dispose()
    conftest._drop(cluster, made.name)


@pytest.fixture
def town(built: Town) -> Town:
    """Three cameras where ``Town.wanted`` looks, each in a cell of its own; nobody has searched within the hour."""
    built.admin.execute("UPDATE register_searches SET opened_at = opened_at - interval '1 day'")
    if built.one("SELECT count(*) FROM cameras") != len(ROWS):
        built.admin.execute("DELETE FROM camera_owners")
        owner = built.owner()
        for row in ROWS:
            built.camera(owner, 2, row)
    return built


@pytest.fixture
def app(town: Town) -> Iterator[psycopg.Connection[Any]]:
    """The site's role, in transactions that the test ends."""
    with connected(town) as connection:
        yield connection


@pytest.fixture
def other(town: Town) -> Iterator[psycopg.Connection[Any]]:
    with connected(town) as connection:
        yield connection
