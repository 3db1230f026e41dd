"""A database of the benchmark's own, fresh at each run, with made-up areas and people in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

import psycopg
import redis
import sqlalchemy as sa
from psycopg import sql

from app import migrate, roles
from app.audit import record as audit
from app.embedded import client
from app.embedded.keys import ensure_keys
from app.embedded.state import Endpoints
from app.models.areas import Area, Release
from app.registry import Registry
from app.services import alerts, consent, organisations, synthetic
from app.services.synthetic import SyntheticPerson
from messaging.types import Channel

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local-bench"
DATABASE = "wardlink_bench"
ACTOR = audit.Actor(audit.ActorKind.OPERATOR, origin="bench")
TOPIC = "incidents and appeals"
BOROUGH = "E09000099"
WARDS, POSTCODES = 20, 600
SEED = 2026
PUBLIC_URL = "https://alerts.wardlink.example"
# As many as a force would have, each faster than anything measured here: pace is not the limit.
SMS_SENDERS, SMS_RATE = 20, 10_000.0


def services() -> Endpoints:
    """The embedded services with an empty, migrated database; os.environ points this process there."""
    _alone()
    found = client.ensure(LOCAL)
    with psycopg.connect(roles.libpq(found.admin_database_url), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
    roles.create_database(found.owner_database_url, DATABASE)
    with redis.Redis.from_url(found.redis_url) as valkey:
        valkey.flushall()  # rings of a run that was broken off
    urls = {
        name: value.rpartition("/")[0] + "/" + DATABASE if "DATABASE" in name else value
        for name, value in found.as_environ().items()
    }
    os.environ.update(urls | ensure_keys(LOCAL))
    os.environ.update(
        LOCAL_DIR=str(LOCAL), HEADS_DIR=str(LOCAL / "heads"), PUBLIC_URL=PUBLIC_URL, LOG_LEVEL="warning"
    )
    migrate.upgrade(os.environ["OWNER_DATABASE_URL"])
    return found


def _alone() -> None:
    """Wait for another benchmark to end: each has the database, and the machine, to itself."""
    LOCAL.mkdir(parents=True, exist_ok=True)
    # Open for the life of the process; the kernel lets go however it ends.
    _alone.held = (LOCAL / "benchmark.lock").open("a")  # type: ignore[attr-defined]
    fcntl.flock(_alone.held, fcntl.LOCK_EX)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is to be reached: an alert ready to be sent, and the address of every contact it is for."""

    alert: UUID
    addresses: dict[int, str]


def settle(
    registry: Registry, channel: Channel, count: int, progress: Callable[[int], None] = lambda _: None
) -> Audience:
    """One organisation with its senders, ``count`` people who all agreed, and an alert to all of them."""
    with registry.sessions.begin() as session:
        session.add(Release(id="bench", name="Made up", published=date(2026, 1, 1), live_postcodes=POSTCODES))
        borough = Area(
            code=BOROUGH, kind="borough", name="Borough of Benchmarks", valid_from=date(2022, 5, 5)
        )
        session.add(borough)
        session.flush()
        session.add_all(
            Area(
                code=f"E05999{i:03d}",
                kind="ward",
                name=f"Ward {i}",
                parent_id=borough.id,
                valid_from=date(2022, 5, 5),
            )
            for i in range(WARDS)
        )
        consent.add_wording(session, "I agree to get alerts.")
        organisation = organisations.create(
            session, slug="bench", name="Bench Police", kind="police", legal_basis="consent", actor=ACTOR
        ).id
        mail = channel is Channel.EMAIL
        for n in range(1 if mail else SMS_SENDERS):
            organisations.add_sender(
                session,
                [organisation],
                channel=channel,
                provider="sendgrid" if mail else "twilio",
                address="alerts@wardlink.example" if mail else f"+4477009010{n:02d}",
                display_name="Bench Police",
                kind="email" if mail else "two-way",
                lane="bulk",
                segments_per_second=SMS_RATE,
                actor=ACTOR,
            )
    postcodes = [
        (f"BE1 {i // 26}{chr(65 + i % 26)}X", f"E05999{i % WARDS:03d}", BOROUGH) for i in range(POSTCODES)
    ]
    addresses: dict[int, str] = {}

    def people() -> list[SyntheticPerson]:
        share = 0.0 if mail else 1.0
        made = synthetic.generate(postcodes, count, seed=SEED, sms_share=share, agreed_share=1.0)
        found = []
        for person in made:
            addresses[person.contact_id] = person.address
            found.append(person)
        return found

    with registry.sessions.begin() as session:
        synthetic.load(session, people(), organisation, [TOPIC], actor=ACTOR, progress=progress)
    with registry.sessions.begin() as session:
        alert = alerts.draft(
            session,
            controller=organisation,
            kind="alert",
            urgency="routine",
            topic=TOPIC,
            headline="Bicycles stolen from front gardens",
            body=(
                "Three bicycles were taken from front gardens between Monday evening and Tuesday morning.\n\n"
                "In each case the lock was cut. Please bring yours indoors, or lock it to something that "
                "cannot be moved, and tell us its frame number when you report a theft."
            ),
            what_to_do="Call 101 if you saw something, and 999 if it is happening now.",
            sms_text="Bicycles stolen on Monday night. Lock yours indoors. Saw something? Call 101",
            audience_expression={"areas": [BOROUGH]},
            channels=[str(channel)],
            actor=ACTOR,
        ).id
    return Audience(alert, addresses)


def analyse(owner_url: str) -> None:
    """Statistics for the planner, as autovacuum would have made them by the time somebody sends; and what the million
    people have left to be written is written, which would otherwise go on for minutes beside what is measured.
    """
    engine = sa.create_engine(owner_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()
    with psycopg.connect(roles.libpq(client.ensure(LOCAL).admin_database_url), autocommit=True) as admin:
        admin.execute("CHECKPOINT")
