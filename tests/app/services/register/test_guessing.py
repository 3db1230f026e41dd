"""Whether somebody with an investigator's account can tell, of an address, that it has a camera.

A program makes every search that the caps allow and knows of half the addresses whether they have one (it has walked
past them); of the other half it guesses from the answers. Half of all addresses have a camera, in each cell as many as
not. What it is told speaks of cells, so it must not do better than chance; with a cell to each address, it must.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from app.db import Pt, make_engine, utc_now
from app.permissions import Role
from app.registry import Registry
from app.services import sessions
from app.services.register import search
from app.services.register.shapes import Shape
from geo import cell
from tests.conftest import Database
from tests.factories import Makes

ADDRESSES = 1_000
LEAST_CELLS = 8
SEARCHES_AN_HOUR = 60
# Bands as numbers in their middle.
MIDDLE = {"none": 0.0, "few": 1.5, "3-5": 4, "6-10": 8, "11-20": 15.5, "21-50": 35, "over-50": 75}
REACH, FIELD = 25, 90


class Street:
    """A corner of town: addresses, half of them with a camera, and cells over them."""

    def __init__(self, database: Database, registry: Registry) -> None:
        self.registry = registry
        self.owner = make_engine(database.environ()["OWNER_DATABASE_URL"])
        self.chance = random.Random(26)
        with registry.sessions.begin() as session:
            makes = Makes(session)
            force = makes.organisation()
            force.competent_authority = True
            _borough, ward, *_ = makes.borough()
            self.force, self.ward = force.id, ward.code
            person = makes.officer(force, role=Role.INVESTIGATOR)
            self.token = sessions.begin(session, staff=person, now=utc_now())
        self.spots = [
            (
                530_000.0 + 25 * column + self.chance.uniform(-6, 6),
                180_000.0 + 20 * row + self.chance.uniform(-4, 4),
            )
            for row in range(25)
            for column in range(ADDRESSES // 25)
        ]
        # A postcode to every fifteen homes, as in life.
        middles = self.spots[7::15]
        self.cells = cell.cells([x for x, _ in middles], [y for _, y in middles])
        assert len(self.cells) >= LEAST_CELLS
        self.has = self._half()
        with self.owner.begin() as connection:
            self._hang(connection, "test")

    def _half(self) -> NDArray[np.bool_]:
        """Which addresses have a camera: of each cell every second one, at random."""
        has = np.zeros(len(self.spots), dtype=bool)
        of: dict[int, list[int]] = {}
        for n, (east, north) in enumerate(self.spots):
            of.setdefault(self._cell(east, north), []).append(n)
        for members in of.values():
            self.chance.shuffle(members)
            has[members[: len(members) // 2]] = True
        return has

    def _cell(self, east: float, north: float) -> int:
        (found,) = (
            n for n, c in enumerate(self.cells) if c.west <= east < c.east and c.south <= north < c.north
        )
        return found

    def _hang(self, connection: sa.Connection, release: str) -> None:
        add = sa.text(
            "INSERT INTO register_cells (release_id, west, south, east, north, postcodes) "
            "VALUES (:release, :west, :south, :east, :north, :postcodes) RETURNING id"
        )
        ids = [
            connection.execute(add, {"release": release, **one._asdict()}).scalar_one() for one in self.cells
        ]
        for n in np.flatnonzero(self.has).tolist():
            east, north = self.spots[n]
            values = {
                "n": n + 1, "at": f"({east},{north})", "bearing": self.chance.randrange(360), "field": FIELD,
                "reach": REACH, "cell": ids[self._cell(east, north)], "controller": self.force, "ward": self.ward,
            }  # fmt: skip
            for statement in _HANG:
                connection.execute(statement, values)

    def without_cells(self) -> None:
        """Switch the rule of the cells off: each address becomes a cell of its own."""
        with self.owner.begin() as connection:
            connection.execute(
                sa.text("ALTER TABLE register_cells DROP CONSTRAINT ck_register_cells_postcodes")
            )
            connection.execute(sa.text("DELETE FROM register_cells"))
            for n, (east, north) in enumerate(self.spots):
                connection.execute(
                    sa.text(
                        "WITH c AS (INSERT INTO register_cells (release_id, west, south, east, north, postcodes) "
                        "SELECT id, :west, :south, :west + 4, :south + 4, 1 FROM releases LIMIT 1 RETURNING id) "
                        "UPDATE cameras SET cell_id = c.id FROM c "
                        "JOIN LATERAL (SELECT md5('camera' || :n)::uuid AS id) k ON true WHERE cameras.id = k.id"
                    ),
                    {"west": int(east) - 2, "south": int(north) - 2, "n": str(n + 1)},
                )

    def an_hour_passes(self) -> None:
        """What counts towards the cap becomes older; the tickets are used already."""
        with self.owner.begin() as connection:
            connection.execute(
                sa.text("UPDATE register_searches SET opened_at = opened_at - interval '2 hours'")
            )

    def ask(self, shape: Shape) -> search.Answer:
        now = utc_now()
        wanted = search.Wanted(
            "1234567/26", "investigation", "A robbery that somebody saw", shape,
            now - timedelta(hours=4), now - timedelta(hours=2),
        )  # fmt: skip
        with self.registry.sessions.begin() as session:
            ticket: UUID = search.open_search(session, self.token, wanted)
        with self.registry.sessions.begin() as session:
            return search.run_search(session, ticket, self.token)


_HANG = [
    sa.text(text)
    for text in (
        (
            "INSERT INTO contact_points (id, channel, address_enc, digest, digest_key, form_version, synthetic, "
            "confirmed_at) VALUES (:n, 'email', '\\x00', sha256(convert_to('a' || :n, 'UTF8')), 1, 1, true, now())"
        ),
        (
            "INSERT INTO camera_owners (id, controller_id, contact_id, name_enc, state, confirmed_at) "
            "VALUES (md5('owner' || :n)::uuid, :controller, :n, '\\x00', 'active', now())"
        ),
        (
            "INSERT INTO cameras (id, owner_id, kind, postcode, at, bearing, field, reach, sector, covers, days_kept, "
            "cell_id, ward_code, live) SELECT md5('camera' || :n)::uuid, md5('owner' || :n)::uuid, 'fixed', 'ZZ1 1ZZ', "
            "a.at, :bearing, :field, :reach, register.sector(a.at, :bearing, :field, :reach), 'street', 14, :cell, :ward, "
            "true FROM (SELECT CAST(:at AS point) AS at) a"
        ),
    )
]


def answers(street: Street, addresses: list[int]) -> NDArray[np.float64]:
    """What the searches said of each address, a row each: every address is searched by itself in two ways."""
    rows = []
    made = 0
    for n in addresses:
        east, north = street.spots[n]
        row: list[float] = []
        for shape in (
            Shape("radius", centre=Pt(east, north), radius=10.0),
            Shape("view", centre=Pt(east, north)),
        ):
            if made and made % SEARCHES_AN_HOUR == 0:
                street.an_hour_passes()
            made += 1
            row += _features(street.ask(shape), east, north)
        rows.append(row)
    return np.array(rows)


def _features(answer: search.Answer, east: float, north: float) -> list[float]:
    """Of one answer: the whole, the nearest cell that it names, and how much lies how near."""
    seen = [
        (
            np.hypot(
                max(one.box[0] - east, 0, east - one.box[2]), max(one.box[1] - north, 0, north - one.box[3])
            ),
            np.hypot((one.box[0] + one.box[2]) / 2 - east, (one.box[1] + one.box[3]) / 2 - north),
            MIDDLE[str(one.total)],
        )
        for one in answer.cells
    ]
    inside = sum(many for gap, _, many in seen if gap <= 0)
    nearest = min(seen, default=(999.0, 999.0, 0.0))
    kernel = sum(many * float(np.exp(-((away / 30) ** 2))) for _, away, many in seen)
    return [MIDDLE[str(answer.total)], inside, nearest[1], nearest[2], kernel, float(len(seen))]


def guessed(facts: NDArray[np.float64], has: NDArray[np.bool_]) -> float:
    """The area under the curve of guesses at addresses that the guesser knows nothing of: it learns from the others."""
    order = np.random.default_rng(26).permutation(len(has))
    scores = np.empty(len(has))
    for fold in range(2):
        learn, judge = order[fold::2], order[1 - fold :: 2]
        middle, spread = facts[learn].mean(axis=0), facts[learn].std(axis=0) + 1e-9
        known, unknown = ((facts[part] - middle) / spread for part in (learn, judge))
        known, unknown = (np.hstack([part, part**2, np.ones((len(part), 1))]) for part in (known, unknown))
        weights = np.linalg.solve(
            known.T @ known + 10 * np.eye(known.shape[1]), known.T @ (has[learn] * 2.0 - 1)
        )
        scores[judge] = unknown @ weights
        scores[judge] -= scores[judge].mean()
    ranks = np.empty(len(has))
    for value in np.unique(scores):  # of equal scores nobody is first
        same = scores == value
        ranks[same] = (scores < value).sum() + (same.sum() + 1) / 2
    yes = int(has.sum())
    return float((ranks[has].sum() - yes * (yes + 1) / 2) / (yes * (len(has) - yes)))


@pytest.fixture
def street(committed: Database) -> Iterator[Street]:
    registry = committed.open()
    made = Street(committed, registry)
    yield made
    made.owner.dispose()
    registry.engine.dispose()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_search_tells_which_address_has_a_camera_and_without_cells_it_would(street: Street) -> None:
    everybody = list(range(len(street.spots)))
    blind = guessed(answers(street, everybody), street.has)
    street.an_hour_passes()
    street.without_cells()
    seeing = guessed(answers(street, everybody), street.has)
    print(f"area under the curve: {blind:.3f}; without cells {seeing:.3f}")
    assert blind <= 0.55
    assert seeing >= 0.9
