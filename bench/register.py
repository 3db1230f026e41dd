"""``python -m bench.register``: the register with a million cameras, searched through the service layer.

Each search is both steps of the gate: it is put on the record and committed, then answered in another transaction. The
cameras stand as London's postcodes do; the searches go where cameras are, so most of them to dense streets.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.audit import record as audit
from app.cli.stack import Stack, StackError
from app.db import Pt, make_engine, utc_now
from app.models.staff import Staff
from app.permissions import Role
from app.registry import Registry, open_registry
from app.services import areas, organisations, roles, sessions
from app.services.register import cells, search
from app.services.register.shapes import Shape
from bench import cameras, ground, start
from config.fields import Part

SEARCHES = 400  # of each kind
EACH = 50  # by one investigator: fewer than anybody may make in an hour
ROUTE_LEG, LEGS = 250.0, 4


def main(arguments: Sequence[str] | None = None) -> int:
    parser = start.parser("register", __doc__)
    parser.add_argument("--n", type=start.whole(1_000, 5_000_000), default=1_000_000, help="cameras")
    parser.add_argument(
        "--searches", type=start.whole(20, 10_000), default=SEARCHES, help="of each kind, timed"
    )
    given = parser.parse_args(arguments)
    return start.play(lambda stack: measure(stack, given.n, given.searches), given.results)


def measure(_stack: Stack, n: int, searches: int) -> dict[str, Any]:
    """One run on a fresh database; the result for bench.record."""
    ground.services()
    owner = make_engine(os.environ["OWNER_DATABASE_URL"])
    registry = open_registry(part=Part.APP)
    say(f"London, its cells, and {n:,} cameras …")
    controller = settle(registry)
    with sa.orm.Session(owner) as session, session.begin():
        cells.build(session, actor=ground.ACTOR)
    made = cameras.settle(owner, controller, n, lambda done: say(f"{done:,}"))
    if made != n:
        raise StackError(f"{made:,} of {n:,} cameras were made")
    ground.analyse(os.environ["OWNER_DATABASE_URL"])
    with owner.connect() as connection:
        spots = [
            Pt(*row)
            for row in connection.execute(
                sa.text("SELECT at[0], at[1] FROM cameras ORDER BY md5(id::text) LIMIT :n"),
                {"n": searches},
            )
        ]
    chance = random.Random(ground.SEED)
    kinds: dict[str, Callable[[Pt], Shape]] = {
        "radius": lambda spot: Shape("radius", centre=spot, radius=500.0),
        "view": lambda spot: Shape("view", centre=spot),
        "route": lambda spot: Shape("route", radius=50.0, route=walk(spot, chance)),
    }
    taken: dict[str, list[float]] = {}
    found: dict[str, int] = {}
    began = time.monotonic()
    for kind, make in kinds.items():
        say(f"{searches:,} searches by {kind} …")
        search_all(registry, [make(spot) for spot in spots[:20]])  # plans and pages, as on any other day
        taken[kind], found[kind] = search_all(registry, [make(spot) for spot in spots])
    seconds = time.monotonic() - began
    registry.engine.dispose()
    owner.dispose()
    result: dict[str, Any] = {"bench": "register", "case": "searches", "n": n, "seconds": round(seconds, 2)}
    for kind, times in taken.items():
        steps = statistics.quantiles(times, n=100)
        result[f"{kind}_p50_ms"] = round(steps[49] * 1000, 2)
        result[f"{kind}_p95_ms"] = round(steps[94] * 1000, 2)
        result[f"{kind}_cells"] = round(found[kind] / len(times), 1)
    return result | {"searches": searches * len(kinds)}


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def settle(registry: Registry) -> object:
    """London, and a force that may investigate; its id."""
    with registry.sessions.begin() as session:
        areas.load_london(session, actor=ground.ACTOR)
        return organisations.create(
            session,
            slug="bench",
            name="Bench Police",
            kind="police",
            legal_basis="law",
            competent_authority=True,
            actor=ground.ACTOR,
        ).id


def investigator(registry: Registry, n: int) -> str:
    """Somebody who may search everywhere and has just shown a factor; the token of their session."""
    now = utc_now()
    with registry.sessions.begin() as session:
        force = organisations.named(session, "bench")
        person = Staff(
            organisation_id=force.id,
            email=f"investigator{n}@police.example",
            digest=os.urandom(32),
            digest_key=1,
            name="DC Bench",
            password_hash="none",
            state="active",
        )
        session.add(person)
        session.flush()
        actor = audit.Actor(audit.ActorKind.OPERATOR, origin="bench")
        roles.grant(session, person, Role.INVESTIGATOR, by=None, actor=actor, now=now)
        return sessions.begin(session, staff=person, now=now)


def walk(spot: Pt, chance: random.Random) -> tuple[Pt, ...]:
    """A way of a kilometre that turns now and then."""
    found, east, north = [spot], chance.choice((-1, 1)), chance.choice((-1, 1))
    for leg in range(LEGS):
        last = found[-1]
        found.append(
            Pt(last[0] + east * ROUTE_LEG, last[1]) if leg % 2 else Pt(last[0], last[1] + north * ROUTE_LEG)
        )
    return tuple(found)


def search_all(registry: Registry, shapes: Sequence[Shape]) -> tuple[list[float], int]:
    """Seconds that each search took, both steps and both commits, and how many cells they found."""
    now = utc_now()
    taken, found, token = [], 0, ""
    for n, shape in enumerate(shapes):
        if n % EACH == 0:
            token = investigator(registry, n)
        wanted = search.Wanted(
            "1234567/26", "investigation", "A robbery that somebody saw", shape,
            now - timedelta(hours=6), now - timedelta(hours=4),
        )  # fmt: skip
        began = time.monotonic()
        with registry.sessions.begin() as session:
            ticket = search.open_search(session, token, wanted)
        with registry.sessions.begin() as session:
            answer = search.run_search(session, ticket, token)
        taken.append(time.monotonic() - began)
        found += len(answer.cells)
    return taken, found


if __name__ == "__main__":
    sys.exit(main())
