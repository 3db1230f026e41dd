"""London as it was in 2014, with 100,000 residents on real postcodes: the ground of test_boundary_changes."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.areas import Area, Release
from app.registry import Registry
from app.services import synthetic
from app.services.area_changes import application, plans
from geo import boundary_file, columns, releases
from geo.area_codes import AreaKind
from geo.boundaries import WardIndex
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC

DATA = Path(__file__).parents[3] / "data" / "boundary_changes"
RESIDENTS, PINS, WARD_ONLY, IN_BETWEEN = 100_000, 5_000, 3_000, 500
THEN = date(2014, 5, 22)
CLOCK = datetime.now(UTC)
# Havering, Barking and Dagenham, Redbridge: one command since 2017.
COMMANDS = {"E09000016": "BCU:KD", "E09000002": "BCU:KG", "E09000026": "BCU:JI"}
EAST = "BCU:EA"
RENAMES = {"E05009317": "Bethnal Green", "E05009331": "St Peter's"}


def wards_of(year: int) -> dict[str, tuple[str, str]]:
    """Name and borough of each ward."""
    with gzip.open(DATA / f"wards_{year}.csv.gz", "rt", newline="", encoding="utf-8") as lines:
        return {row["ward_code"]: (row["ward_name"], row["borough_code"]) for row in csv.DictReader(lines)}


def shapes_of(year: int) -> dict[str, object]:
    return dict(boundary_file.decode((DATA / f"wards_{year}.json.gz").read_bytes()))


@dataclass
class London:
    """A database in which it is 2014, with residents; and what was done to it since."""

    registry: Registry
    database: Database
    police: UUID
    first: dict[UUID, str]  # place → ward of 2014
    plans: list[UUID] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def where(self) -> dict[UUID, str]:
        """The ward of each place. Nobody has two, and nobody none."""
        with self.registry.sessions() as session:
            rows = session.execute(
                sa.text(
                    "SELECT p.id, array_agg(a.code) FROM places p "
                    "LEFT JOIN place_areas pa ON pa.place_id = p.id AND pa.valid_to IS NULL "
                    "LEFT JOIN areas a ON a.id = pa.area_id AND a.valid_to IS NULL GROUP BY p.id"
                )
            ).all()
        assert all(len(codes) == 1 and codes[0] for _, codes in rows), "somebody is lost, or twice"
        return {row[0]: row[1][0] for row in rows}

    def points(self, kind: str) -> list[tuple[UUID, str, float, float]]:
        """Place, postcode, easting and northing."""
        with self.registry.sessions() as session:
            rows = session.execute(
                sa.text(
                    "SELECT p.id, p.postcode, coalesce(p.at[0], c.at[0]), coalesce(p.at[1], c.at[1]) FROM places p "
                    "LEFT JOIN postcodes c ON c.postcode = p.postcode WHERE p.kind = :kind ORDER BY p.id"
                ),
                {"kind": kind},
            )
            return [(row[0], row[1], row[2], row[3]) for row in rows]

    def apply(self, name: str, plan: UUID, now: datetime) -> None:
        with self.registry.sessions.begin() as session:
            plans.schedule(session, plan, actor=ACTOR)
        began = datetime.now(UTC)
        application.run(self.registry.sessions.begin, plan, actor=ACTOR, now=now)
        self.seconds[name] = (datetime.now(UTC) - began).total_seconds()
        self.plans.append(plan)


def as_in_2014(session: Session) -> dict[str, str]:
    """London as it was in 2014: areas, and the ward of each postcode. Where no table says it, the boundary does."""
    session.add(
        Release(
            id="then",
            name="Wards of 2014",
            published=THEN,
            live_postcodes=0,
            loaded_at=datetime(2014, 6, 1, tzinfo=UTC),
        )
    )
    ids: dict[str, int] = {}
    for one in releases.areas():
        if one.kind is AreaKind.WARD or one.code == EAST:
            continue
        parent = ids.get(one.parent_code or "")
        if one.code in COMMANDS:
            command = Area(
                code=COMMANDS[one.code],
                kind="bcu",
                name=one.name,
                valid_from=THEN,
                parent_id=ids["FORCE:metropolitan"],
            )
            session.add(command)
            session.flush()
            parent = command.id
        area = Area(code=one.code, kind=str(one.kind), name=one.name, valid_from=THEN, parent_id=parent)
        session.add(area)
        session.flush()
        ids[one.code] = area.id
    session.add_all(
        Area(code=code, kind="ward", name=name, valid_from=THEN, parent_id=ids[borough])
        for code, (name, borough) in wards_of(2014).items()
    )
    session.flush()
    live = releases.live_postcodes()
    texts, _ = columns.decode((DATA / "ward_2014.columns.gz").read_bytes())
    table = texts["ward_2014"]
    lies = WardIndex(shapes_of(2014)).wards_at(live.easting, live.northing)  # type: ignore[arg-type]
    then = {
        code: named or found
        for code, named, found in zip(live.postcode, table, lies, strict=True)
        if named or found
    }
    with (
        session.connection().connection.cursor() as cursor,
        cursor.copy("COPY postcodes (postcode, at, ward_code, quality, live, release_id) FROM STDIN") as copy,
    ):
        for code, east, north in zip(live.postcode, live.easting, live.northing, strict=True):
            if code in then:
                copy.write(f"{code}\t({east},{north})\t{then[code]}\t10\ttrue\tthen\n")
    return then


def settle_residents(session: Session, police: UUID, then: dict[str, str]) -> None:
    """By postcode; some by a pin near one, some by their ward alone."""
    homes = [(code, ward, "") for code, ward in then.items()]
    synthetic.load(session, synthetic.generate(homes, RESIDENTS, seed=2014), police, [TOPIC], actor=ACTOR)
    session.execute(
        sa.text(
            "UPDATE places p SET kind = 'ward', postcode = NULL FROM "
            "(SELECT id FROM places ORDER BY id LIMIT :most) few WHERE few.id = p.id"
        ),
        {"most": WARD_ONLY},
    )
    session.execute(
        sa.text(
            "UPDATE places p SET kind = 'pin', at = c.at, postcode = NULL FROM "
            "(SELECT id, postcode FROM places WHERE kind = 'postcode' ORDER BY id LIMIT :most) few "
            "JOIN postcodes c ON c.postcode = few.postcode WHERE few.id = p.id"
        ),
        {"most": PINS},
    )
    # A pin lies where the boundary has it.
    pins = session.execute(sa.text("SELECT id, at[0], at[1] FROM places WHERE kind = 'pin'")).all()
    lies = WardIndex(shapes_of(2014)).wards_at([p[1] for p in pins], [p[2] for p in pins])  # type: ignore[arg-type]
    session.execute(
        sa.text(
            "UPDATE place_areas pa SET area_id = a.id FROM unnest(CAST(:places AS uuid[]), CAST(:codes AS text[])) "
            "AS g(id, code) JOIN areas a ON a.code = g.code WHERE pa.place_id = g.id"
        ),
        {"places": [p[0] for p in pins], "codes": lies},
    )


def wards_of_2014_by_postcode(london: London) -> dict[str, str]:
    live = releases.live_postcodes()
    texts, _ = columns.decode((DATA / "ward_2014.columns.gz").read_bytes())
    lies = WardIndex(shapes_of(2014)).wards_at(live.easting, live.northing)  # type: ignore[arg-type]
    return {
        code: named or found or ""
        for code, named, found in zip(live.postcode, texts["ward_2014"], lies, strict=True)
    }


def somebody(session: Session) -> list[int]:
    found = sa.text(
        "SELECT s.contact_id FROM subscriptions s JOIN places p ON p.id = s.place_id "
        "JOIN consents k ON k.contact_id = s.contact_id AND k.withdrawn_at IS NULL "
        "WHERE p.kind = 'postcode' AND s.ended_at IS NULL ORDER BY s.id LIMIT 2000"
    )
    return list(session.execute(found).scalars())


def subscriptions_of_all(session: Session) -> tuple[int, int]:
    found = sa.text("SELECT count(*), count(*) FILTER (WHERE ended_at IS NULL) FROM subscriptions")
    return tuple(session.execute(found).one())  # type: ignore[return-value]
