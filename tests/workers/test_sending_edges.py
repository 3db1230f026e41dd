"""What reviews found at the edges: overlapping attempts, a dispatch finished too early, a quiet provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.models.ledger import Attempt
from app.registry import Registry
from app.services.ledger import check, recovery
from messaging.types import Channel, DeliveryStatus, Outcome, SendResult
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes
from tests.sending import World, world
from workers.sending.drain import drain

DOUBT = SendResult(Outcome.IN_DOUBT)


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


def test_two_open_attempts_over_one_stretch_put_everybody_in_doubt_once(
    database: Database, registry: Registry
) -> None:
    with ledger.by_anybody(database) as session:
        sent = ledger.frozen(Makes(session), 6)
        held = ledger.claimed(session)
        # The commit of the first was never heard of, so the worker opened a second.
        ledger.attempted(session, held, 1, 4)
        ledger.attempted(session, held, 1, 4)
        session.execute(
            sa.text("UPDATE batches SET lease_until = now() - interval '1 second' WHERE dispatch_id = :d"),
            {"d": sent},
        )
        assert recovery.recover(session) == [(sent, 0, 4)]
        in_doubt = {o for o, s in ledger.statuses(session, sent).items() if s is DeliveryStatus.IN_DOUBT}
        assert in_doubt == {1, 2, 3, 4}
        open_ones = session.scalars(
            sa.select(Attempt.n).where(Attempt.dispatch_id == sent, Attempt.closed_at.is_(None))
        )
        assert list(open_ones) == []
        (line,) = check.balance(session, sent)
        assert (line.in_doubt, line.waiting, line.problems) == (4, 2, ())


def test_a_batch_that_waits_in_a_dispatch_called_done_is_sent_and_nobody_counts_as_stopped(
    database: Database, registry: Registry
) -> None:
    with ledger.by_anybody(database) as session:
        sent = ledger.frozen(Makes(session), 2)
        session.execute(
            sa.text("UPDATE dispatches SET state = 'done', finished_at = now() WHERE id = :d"), {"d": sent}
        )
        held = ledger.claimed(session)
        assert held.dispatch == sent
        assert held.running
        assert ledger.attempted(session, held) == 1


def test_a_month_whose_rows_lie_in_the_default_partition_does_not_stop_the_next_months(
    database: Database,
) -> None:
    with ledger.by_anybody(database) as session:
        made = session.execute(sa.text("SELECT ledger_make_partitions(6)")).scalar_one()
        assert made > 0
        last = "to_char(now() AT TIME ZONE 'UTC' + interval '7 months', 'YYYYMM')"
        session.execute(
            sa.text(
                "INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, status) SELECT CAST(rpad(lpad("
                "to_hex(CAST(extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC') + interval '7 months') "
                "* 1000 AS bigint) + 1), 12, '0'), 32, '0') AS uuid), 1, 0, 1, 30"
            )
        )
        assert session.execute(sa.text("SELECT ledger_make_partitions(8)")).scalar_one() == 1
        assert session.execute(sa.text(f"SELECT to_regclass('deliveries_' || {last})")).scalar_one() is None


def test_a_provider_that_leaves_us_in_doubt_is_left_alone_and_the_other_channel_goes_on(here: World) -> None:
    with here.making() as makes:
        police = makes.organisation()
        _, ward, _ = makes.borough()
        for channel in Channel:
            makes.sender(police, str(channel))
            makes.resident(police, ward, channel=channel)
        sent = here.send(makes, makes.alert(police, [ward], channels=["email", "sms"]))

    async def go() -> None:
        engine = here.engine()
        routes = engine.routes
        routes.heard(Channel.EMAIL, "sendgrid", [DOUBT])
        first = routes.quiet(Channel.EMAIL, "sendgrid")
        routes.heard(Channel.EMAIL, "sendgrid", [DOUBT])
        assert routes.quiet(Channel.EMAIL, "sendgrid") > first
        assert await drain(engine, (0, 1), 20) == 1  # the texts alone
        routes.heard(Channel.EMAIL, "sendgrid", [SendResult(Outcome.TAKEN)])
        assert await drain(engine, (0, 1), 20) == 1
        await engine.aclose()

    asyncio.run(go())
    assert sorted(here.reached(sent).values()) == [1, 1]
