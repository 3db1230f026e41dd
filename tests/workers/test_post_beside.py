"""A code does not wait behind an urgent alert that its worker is sending."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from app.cli.stack import wait_until
from app.db import utc_now
from app.models.ledger import URGENT_LANE
from app.models.service_messages import ServiceMessage
from app.services import post
from tests.conftest import Database
from tests.sending import World, world
from workers.post import beside
from workers.sending.drain import drain


def work(here: World) -> int:
    """What the urgent worker's job does."""

    async def go() -> int:
        engine = here.engine()
        try:
            return await beside(engine, drain(engine, [URGENT_LANE], 20.0))
        finally:
            await engine.aclose()

    return asyncio.run(go())


def test_a_code_leaves_while_an_urgent_alert_is_under_way(committed: Database, tmp_path: Path) -> None:
    with world(committed, tmp_path) as here, ThreadPoolExecutor(1) as worker:
        with here.making() as makes:
            police = makes.organisation()
            makes.sender(police, "email", lane="urgent")
            makes.sender(police, "sms", lane="urgent")
            borough, ward, _ = makes.borough()
            makes.wording()
            makes.resident(police, ward)
            alert = makes.alert(police, [borough], urgency="urgent", channels=["email"])
        with here.making() as makes:
            sent = here.send(makes, alert)
        here.faults(email={"hold": {"when": "before"}})
        alert_job = worker.submit(work, here)
        wait_until(lambda: here.sandbox.gauge()["open_mail"] == 1, what="the alert's call")
        with here.making() as makes:
            code = post.queue_text(
                makes.session,
                kind="confirm",
                address="+447700900555",
                text="Your code is 123456",
                controller=police.id,
                synthetic=True,
                expires_at=utc_now() + timedelta(minutes=30),
                now=utc_now(),
            )
        assert code is not None

        def told() -> bool:
            with here.looking() as session:
                return session.get_one(ServiceMessage, code).state == "sent"

        wait_until(told, what="the code")
        assert here.sandbox.gauge()["open_mail"] == 1, "the alert is still under way"
        here.sandbox._server.get_loop().call_soon_threadsafe(here.sandbox.faults.clear)  # type: ignore[union-attr]
        assert alert_job.result(20) == 1
        assert sum(here.reached(sent).values()) == 1
