"""One embedded cluster for the whole run, one database per test process, built by the real migrations."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from sqlalchemy.orm import Session

from tests.memory import place

PROJECT = Path(__file__).resolve().parent.parent
# Before anything reads the settings: tests never touch the demo's services.
os.environ.setdefault("LOCAL_DIR", str(PROJECT / ".local-test"))
os.environ["WARDLINK_ENV"] = "test"
place(Path(os.environ["LOCAL_DIR"]))

from app import migrate, roles  # noqa: E402
from app.audit import record as audit  # noqa: E402
from app.embedded import client  # noqa: E402
from app.embedded.state import Endpoints  # noqa: E402
from app.registry import Registry, open_registry  # noqa: E402
from app.services import areas  # noqa: E402
from config.fields import Part  # noqa: E402
from config.settings import Settings  # noqa: E402
from tests import register_rows  # noqa: E402
from tests.factories import Makes  # noqa: E402
from workers import runtime  # noqa: E402

# Machines are shared and noisy: an example that took long says nothing about the code.
settings.register_profile("wardlink", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("wardlink")

URLS = ("database_url", "owner_database_url", "worker_database_url", "sealer_database_url")


@pytest.fixture(scope="session")
def cluster() -> Endpoints:
    """The embedded PostgreSQL and Valkey, shared by all processes of the run."""
    return client.ensure(Path(os.environ["LOCAL_DIR"]))


@dataclasses.dataclass(frozen=True)
class Database:
    """A database of the embedded cluster, by every role."""

    name: str
    cluster: Endpoints

    def environ(self) -> dict[str, str]:
        """The settings that point a process at it."""
        found = {u.upper(): _other(getattr(self.cluster, u), self.name) for u in URLS}
        return found | {"REDIS_URL": self.cluster.redis_url, "ADMIN_DATABASE_URL": self.admin}

    @property
    def admin(self) -> str:
        return _other(self.cluster.admin_database_url, self.name)

    def settings(self, part: Part = Part.APP, **changes: str) -> Settings:
        local = Path(os.environ["LOCAL_DIR"])
        from app.embedded.keys import ensure_keys

        environ = (
            os.environ | self.environ() | ensure_keys(local) | {"HEADS_DIR": str(local / "heads")} | changes
        )
        return Settings.load(environ, part)

    def open(self, part: Part = Part.APP, **changes: str) -> Registry:
        return open_registry(self.settings(part, **changes), part)


def _other(url: str, name: str) -> str:
    return url.rpartition("/")[0] + "/" + name


def _drop(cluster: Endpoints, name: str) -> None:
    with psycopg.connect(roles.libpq(cluster.admin_database_url), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _copy(cluster: Endpoints, template: str, name: str) -> Database:
    _drop(cluster, name)
    with psycopg.connect(roles.libpq(cluster.owner_database_url), autocommit=True) as owner:
        # Files are copied as they are, which is quicker than by way of the log while nothing is written through.
        copied = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        owner.execute(copied.format(sql.Identifier(name), sql.Identifier(template)))
    database = Database(name, cluster)
    owner_url = roles.libpq(database.environ()["OWNER_DATABASE_URL"])
    with psycopg.connect(owner_url, autocommit=True) as owner:
        roles.secure_database(owner, name)
    return database


@pytest.fixture(scope="session")
def template(cluster: Endpoints, worker_id: str) -> Iterator[str]:
    """A migrated database that others are copied from; nobody stays connected to it."""
    name = f"template_{worker_id}"
    _drop(cluster, name)
    roles.create_database(cluster.owner_database_url, name)
    migrate.upgrade(_other(cluster.owner_database_url, name))
    register_rows.prepare(_other(cluster.admin_database_url, name))
    yield name
    _drop(cluster, name)


@pytest.fixture(scope="session")
def database(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Database]:
    """The database of this test process, for tests that leave nothing behind."""
    made = _copy(cluster, template, f"test_{worker_id}")
    yield made
    _drop(cluster, made.name)


@pytest.fixture(scope="session")
def registry(database: Database) -> Iterator[Registry]:
    opened = database.open()
    yield opened
    opened.engine.dispose()


@pytest.fixture
def session(registry: Registry) -> Iterator[Session]:
    """A session whose commits end with the test: an outer transaction, savepoints inside."""
    with registry.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            yield inner
        outer.rollback()


@pytest.fixture
def committed(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Database]:
    """A database of one test's own, for what savepoints cannot show: kills, roles, two transactions."""
    made = _copy(cluster, template, f"test_{worker_id}_own")
    yield made
    _drop(cluster, made.name)


@pytest.fixture
def app(committed: Database) -> Iterator[Registry]:
    """The registry of the site, on the test's own database."""
    opened = committed.open(Part.APP)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def worker(committed: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry that this process's jobs run on."""
    opened = committed.open(Part.WORKER)
    monkeypatch.setattr(runtime, "registry", lambda: opened)
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="session")
def london(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Database]:
    """A database with the whole of London loaded; tests leave it as it is."""
    made = _copy(cluster, template, f"test_{worker_id}_london")
    opened = made.open()
    with opened.sessions.begin() as session:
        areas.load_london(session, actor=audit.SYSTEM)
    opened.engine.dispose()
    yield made
    _drop(cluster, made.name)


@pytest.fixture(scope="session")
def town_database(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Database]:
    """The database of the browser's town, written to by all its tests."""
    made = _copy(cluster, template, f"test_{worker_id}_town")
    yield made
    _drop(cluster, made.name)


@pytest.fixture
def makes(session: Session, registry: Registry) -> Makes:
    """Makers of organisations, senders, areas and people, in the test's session."""
    return Makes(session)


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The test process, unlike that of any other run: two runs at once share the cluster."""
    run = getattr(request.config, "workerinput", {})
    if not run:
        return f"p{os.getpid()}"
    return f"{run['testrunuid'][:6]}_{run['workerid']}"
