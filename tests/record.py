"""A record of one test's own, committed: entries, a sealer, signed heads, and a superuser who tampers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from app.audit.chain import seal_pending, tip
from app.audit.findings import Report
from app.audit.heads import append_head
from app.audit.verify import verify
from app.db import make_engine
from app.roles import libpq
from tests.conftest import Database

ADD = (
    "INSERT INTO audit_entries (actor_kind, actor_id, subject, event, why, detail) "
    "SELECT 'system', 's' || n, 'alert:' || n, 'alert:draft', 'Größe ✓', '{\"n\":1}' FROM generate_series(1, %s) n"
)


@dataclass
class Record:
    database: Database
    heads_dir: Path
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def url(self, role: str = "") -> str:
        return self.database.environ()[f"{role.upper()}_DATABASE_URL" if role else "DATABASE_URL"]

    def add(self, count: int) -> None:
        """As the app, in one transaction."""
        with psycopg.connect(libpq(self.url())) as app:
            app.execute(ADD, (count,))

    def seal(self, *, head: bool = True) -> int:
        """All that is committed, as the sealer; how many were sealed."""
        engine = make_engine(self.url("sealer"))
        total, after = 0, 0
        with engine.connect() as connection:
            while after is not None:
                sealed, after = seal_pending(connection, after=after)
                total += sealed
            with connection.begin():
                end = tip(connection)
        engine.dispose()
        if head:
            append_head(self.heads_dir, self.key, end.seq, end.hash)
        return total

    def tamper(self, *statements: str, trigger_off: bool = False) -> None:
        """As the superuser, past every guard: by the replication role, or with triggers disabled."""
        with psycopg.connect(libpq(self.database.admin)) as admin:
            if trigger_off:
                for table in ("audit_entries", "audit_seals"):
                    admin.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            else:
                admin.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                admin.execute(statement)

    def fetch(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(libpq(self.database.admin)) as admin:
            return admin.execute(query).fetchall()

    def check(self, *, role: str = "", wait_seconds: float = 0.0) -> Report:
        engine: sa.Engine = make_engine(self.url(role))
        with Session(engine) as session:
            report = verify(session, self.heads_dir, self.key.public_key(), wait_seconds)
        engine.dispose()
        return report
