"""``python -m bench.web``: the ward page, with its queries, against the same layout around words that never change.

One gunicorn worker serves both, over kept connections, in turns of a second: what else the machine does falls on
both alike.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from app.cli.stack import Stack, answers, free_port
from app.db import utc_now
from app.models.areas import Area, Release
from app.registry import Registry, open_registry
from app.services import alerts, organisations, published, teams
from bench import ground, start, still
from bench.sandbox import Load
from config.fields import Part

CONNECTIONS = 8  # twice the threads, so that none waits for this process
ALERTS = 400
MEMBERS = ("Sergeant", "PC", "PC", "PCSO", "PCSO")
_MAIN = re.compile(r"<main[^>]*>(.*)</main>", re.DOTALL)


class Turn(NamedTuple):
    """Requests answered in one turn, and in how many seconds."""

    answered: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = start.parser("web", __doc__)
    parser.add_argument("--turns", type=int, choices=range(1, 101), default=10, metavar="1-100")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    given = parser.parse_args(arguments)
    return start.play(lambda stack: measure(stack, given.turns, given.seconds), given.results)


def measure(stack: Stack, turns: int, seconds: float) -> dict[str, Any]:
    """Both pages by turns; the result for bench.record."""
    ground.services()
    registry = open_registry(part=Part.APP)
    codes = settle(registry)
    registry.engine.dispose()
    ground.analyse(os.environ["OWNER_DATABASE_URL"])
    words = ground.LOCAL / "run" / "still.html"
    words.parent.mkdir(parents=True, exist_ok=True)
    words.write_text("", encoding="utf-8")
    port = serve(stack, words)
    page = fetched(port, f"/ward/{codes[0]}")
    stack.stop()
    found = _MAIN.search(page)
    assert found is not None
    words.write_text(found[1], encoding="utf-8")
    port = serve(stack, words)
    wards = [request(port, f"/ward/{code}") for code in codes]
    same = [request(port, still.PATH)]
    for warm in (wards, same):
        asyncio.run(turn(port, warm, 0.5))
    ward_turns: list[Turn] = []
    still_turns: list[Turn] = []
    for n in range(turns):
        # Neither page always follows the other.
        for of, pages in ((ward_turns, wards), (still_turns, same))[:: 1 if n % 2 else -1]:
            of.append(asyncio.run(turn(port, pages, seconds)))
    ratios = [a.per_second / b.per_second for a, b in zip(ward_turns, still_turns, strict=True)]
    return {
        "bench": "web",
        "case": "ward page",
        "n": sum(one.answered for one in ward_turns),
        "seconds": round(sum(one.seconds for one in ward_turns), 3),
        "per_second": round(statistics.median(one.per_second for one in ward_turns)),
        "still_per_second": round(statistics.median(one.per_second for one in still_turns)),
        "ratio": round(statistics.median(ratios), 3),
        "lowest_ratio": round(min(ratios), 3),
        "page_bytes": len(page.encode()),
        "still_bytes": len(fetched(port, still.PATH).encode()),
        "connections": CONNECTIONS,
        "turns": turns,
    }


def settle(registry: Registry) -> list[str]:
    """A borough of wards, each with a team of five and years of alerts; the wards' codes."""
    now = utc_now()
    with registry.sessions.begin() as session:
        session.add(Release(id="bench", name="Made up", published=now.date(), live_postcodes=0))
        borough = Area(
            code=ground.BOROUGH, kind="borough", name="Borough of Benchmarks", valid_from=now.date()
        )
        session.add(borough)
        session.flush()
        codes = [f"E05999{n:03d}" for n in range(ground.WARDS)]
        session.add_all(
            Area(
                code=code, kind="ward", name=f"Ward {code[-2:]}", parent_id=borough.id, valid_from=now.date()
            )
            for code in codes
        )
        police = organisations.create(
            session,
            slug="bench",
            name="Bench Police",
            kind="police",
            legal_basis="consent",
            actor=ground.ACTOR,
        )
        for code in codes:
            team = teams.create(
                session,
                controller=police.id,
                name=f"Team of {code}",
                areas=[code],
                about="We patrol on foot and by bicycle, and hold a street surgery each month.",
                email="team@police.example",
                phone="101",
                url="https://police.example/team",
                actor=ground.ACTOR,
            )
            for role in MEMBERS:
                teams.add_member(
                    session, team.id, role=role, name=f"A Member of {code}", agreed=True, actor=ground.ACTOR
                )
        for n in range(ALERTS):
            alert = alerts.draft(
                session,
                controller=police.id,
                kind="alert",
                urgency="urgent" if n % 10 == 0 else "routine",
                topic=ground.TOPIC,
                headline=f"Bicycles stolen from front gardens, number {n}",
                body="Three bicycles were taken.\n\nPlease lock yours indoors. " * 10,
                audience_expression={"areas": [codes[n % len(codes)] if n % 3 else ground.BOROUGH]},
                channels=["email"],
                actor=ground.ACTOR,
            )
            alert.state = "sent"
            published.publish(session, alert, now=now - timedelta(hours=n))
    return codes


def serve(stack: Stack, words: Path) -> int:
    """The site and the still page by one worker, answering when this returns; their port."""
    port = free_port()
    child = stack.run(
        "web",
        ["gunicorn", "--config", "python:config.gunicorn", "bench.still:create()"],
        BENCH_STILL=str(words),
        WEB_HOST="127.0.0.1",
        WEB_PORT=str(port),
        WEB_WORKERS="1",
    )
    stack.ready(child, lambda: answers(f"http://127.0.0.1:{port}/health/live"))
    return port


def fetched(port: int, path: str) -> str:
    """A page of this machine."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{port}{path}", timeout=30
    ) as answer:
        text: str = answer.read().decode()
        return text


def request(port: int, path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/html\r\n\r\n".encode()


async def turn(port: int, pages: Sequence[bytes], seconds: float) -> Turn:
    """Ask for the pages in a circle over kept connections. RuntimeError when one is not answered with 200."""
    loop, began, endless = asyncio.get_running_loop(), time.monotonic(), itertools.cycle(pages)
    made = [
        (
            await loop.create_connection(
                lambda: Load(endless, b"HTTP/1.1 200", began + seconds), "127.0.0.1", port
            )
        )[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.gather(*(one.done for one in made))
    return Turn(sum(one.answered for one in made), time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
