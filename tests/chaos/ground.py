"""What every case starts from: a frozen dispatch, its people, an officer, and another alert that waits.

``make chaos`` makes it once for each channel and copies the database for each case; a test makes it
in the database of its own.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from app import logs, migrate, queue, roles
from app.embedded import client
from app.registry import Registry
from app.services import dispatch, synthetic
from messaging.types import Channel
from tests.conftest import Database
from tests.entering import PASSWORD
from tests.factories import ACTOR, TOPIC, Makes

NOWHERE = "http://127.0.0.1:9"  # no site: receipts are off unless a case has one
RECIPIENTS, SENDERS = 5_000, 25
# Every hundredth address bounces, so that receipts have something to tell apart: the sandbox knows e-mail
# addresses by the word, and numbers by their ending.
BOUNCES, BOUNCING_END = 100, "99"


@dataclass(frozen=True, slots=True)
class Ground:
    """A dispatch frozen for ``addresses`` (contact → address), and what a second one needs.

    ``waiting``: an alert to the same people that nobody has sent; ``officer``: e-mail address and
    TOTP secret of somebody who may, with ``entering.PASSWORD``.
    """

    dispatch: UUID
    batches: int
    addresses: dict[int, str]
    waiting: UUID
    officer: tuple[str, str]
    password: str = PASSWORD

    def keep(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), default=str))

    @classmethod
    def read(cls, path: Path) -> Ground:
        kept = json.loads(path.read_text())
        return cls(
            UUID(kept["dispatch"]),
            kept["batches"],
            {int(contact): address for contact, address in kept["addresses"].items()},
            UUID(kept["waiting"]),
            tuple(kept["officer"]),
            kept["password"],
        )


def bounces(address: str) -> bool:
    """Whether the sandbox reports that this address cannot be reached."""
    return ".bounce@" in address or (address.startswith("+") and address.endswith(BOUNCING_END))


def address_of(channel: Channel, i: int) -> str:
    """The address of the ``i``th person: the last of each hundred bounces."""
    if channel is Channel.SMS:
        return f"+447700900{i:06d}"
    return f"person{i}{'.bounce' if i % BOUNCES == BOUNCES - 1 else ''}@people.example"


def lay(registry: Registry, channel: Channel, recipients: int, senders: int) -> Ground:
    """People, an alert to them and its dispatch, spread evenly over ``senders`` batches."""
    chance = random.Random(f"chaos {channel} {recipients} {senders}")
    with registry.sessions.begin() as session:
        makes = Makes(session)
        makes.wording()
        organisation = makes.organisation()
        for _ in range(senders):
            makes.sender(organisation, str(channel), rate=10_000.0)
        borough, ward, _ = makes.borough()
        team = makes.team(organisation, [borough])
        officer = makes.officer(organisation, team, password=PASSWORD)
        # The freeze places people by the remainder of their id: equal remainders, equal batches.
        people = [
            synthetic.SyntheticPerson(
                contact_id=chance.getrandbits(55) * senders + i % senders,
                channel=channel,
                address=address_of(channel, i),
                name="Amara",
                postcode="SE15 4AA",
                ward_code=ward.code,
                borough_code=borough.code,
                agreed=True,
            )
            for i in range(recipients)
        ]
        synthetic.load(session, people, organisation.id, [TOPIC], actor=ACTOR)
        texts = {"channels": [str(channel)], "team": team.id}
        alert = makes.alert(organisation, [borough], how_to_tell="Call 101 and say CAD 1234.", **texts)
        waiting = makes.alert(organisation, [borough], headline="Street meeting on Saturday", **texts)
        assert officer.totp_secret is not None
        found = (officer.email, officer.totp_secret)
    with registry.sessions.begin() as session:
        frozen = dispatch.send(session, alert.id, token="chaos token", actor=ACTOR, public_url=NOWHERE)
    assert (frozen.recipients, frozen.batches) == (recipients, senders)
    addresses = {p.contact_id: p.address for p in people}
    return Ground(frozen.id, frozen.batches, addresses, waiting.id, found)


@dataclass(frozen=True, slots=True)
class Lane:
    """A cluster of ``make chaos``'s own with one database for each channel to copy from."""

    folder: Path

    def lay(self, channel: Channel) -> None:
        """Migrate and fill the database that cases of ``channel`` are copied from."""
        cluster = client.ensure(self.folder)
        name = f"ground_{channel}"
        roles.create_database(cluster.owner_database_url, name)
        database = Database(name, cluster)
        migrate.upgrade(database.environ()["OWNER_DATABASE_URL"])
        doorbell = queue._connection
        registry = database.open()
        try:
            lay(registry, channel, RECIPIENTS, SENDERS).keep(self.folder / f"{name}.json")
        finally:
            registry.engine.dispose()
            queue._connection = doorbell

    @contextmanager
    def copy(self, channel: Channel) -> Iterator[tuple[Database, Ground]]:
        """A fresh copy of that database, dropped at the end."""
        cluster = client.ensure(self.folder)
        name, template = f"case_{os.getpid()}", f"ground_{channel}"
        with psycopg.connect(roles.libpq(cluster.owner_database_url), autocommit=True) as owner:
            owner.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        database = Database(name, cluster)
        owner_url = roles.libpq(database.environ()["OWNER_DATABASE_URL"])
        with psycopg.connect(owner_url, autocommit=True) as owner:
            roles.secure_database(owner, name)
        with psycopg.connect(roles.libpq(database.admin), autocommit=True) as admin:
            admin.execute("ANALYZE")
        try:
            yield database, Ground.read(self.folder / f"{template}.json")
        finally:
            client.ensure(self.folder)
            with psycopg.connect(roles.libpq(cluster.admin_database_url), autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def main() -> int:
    """``python -m tests.chaos.ground FOLDER``, with LOCAL_DIR the same folder: lays a lane's ground."""
    lane = Lane(Path(sys.argv[1]))
    logs.set_up("error", "text")
    for channel in Channel:
        lane.lay(channel)
    return 0


if __name__ == "__main__":
    sys.exit(main())
