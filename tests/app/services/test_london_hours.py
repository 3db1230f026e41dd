"""London's wall clock in SQL: quiet hours and digests against plain Python, on every night, those of the change too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

LONDON = ZoneInfo("Europe/London")
SPRING, AUTUMN = datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)
LONGEST = 20


def wall(moment: datetime) -> datetime:
    return moment.astimezone(LONDON)


def quiet(moment: datetime, start: int, end: int) -> bool:
    return (wall(moment).hour - start) % 24 < (end - start) % 24


MOMENTS = [
    change + timedelta(hours=hours, minutes=minutes)
    for change in (SPRING, AUTUMN, datetime(2026, 11, 4, tzinfo=UTC))
    for hours in range(-26, 27, 1)
    for minutes in (0, 30)
]
PERIODS = [(a, (a + n) % 24) for a in range(24) for n in (1, 2, 5, 9, 15, LONGEST)]


def asked(
    session: Session, function: str, moments: list[datetime], a: list[int], b: list[int | None]
) -> list:
    return list(
        session.execute(
            sa.text(
                f"SELECT {function}(m, CAST(a AS smallint), CAST(b AS smallint)) FROM unnest(CAST(:m AS timestamptz[]),"
                "CAST(:a AS int[]), CAST(:b AS int[])) WITH ORDINALITY AS u(m, a, b, n) ORDER BY n"
            ),
            {"m": moments, "a": a, "b": b},
        ).scalars()
    )


@pytest.mark.parametrize("change", [SPRING, AUTUMN, datetime(2026, 11, 4, tzinfo=UTC)])
def test_quiet_hours_are_those_of_the_wall_clock(session: Session, change: datetime) -> None:
    near = [m for m in MOMENTS if abs(m - change) <= timedelta(hours=26)]
    cases = [(m, a, b) for m in near for a, b in PERIODS]
    moments, starts, ends = [c[0] for c in cases], [c[1] for c in cases], [c[2] for c in cases]
    at = asked(session, "quiet_at", moments, starts, ends)
    until = asked(session, "quiet_end", moments, starts, ends)
    begins = asked(session, "quiet_start", moments, starts, ends)
    for (moment, a, b), is_quiet, ended, begun in zip(cases, at, until, begins, strict=True):
        assert is_quiet == quiet(moment, a, b), (moment, a, b)
        assert ended == _walk(moment, False, a, b), (moment, a, b)
        if not is_quiet:
            jumped_over = (begun, a, b) == (SPRING, 1, 2)
            assert jumped_over or begun == _walk(moment, True, a, b), (moment, a, b)


def _walk(moment: datetime, wanted: bool, a: int, b: int) -> datetime:
    """The first moment from this one on at which it is (not) quiet: by half hours, for every border is one."""
    while quiet(moment, a, b) is not wanted:
        moment += timedelta(minutes=30)
    return moment


def test_without_quiet_hours_it_is_never_quiet(session: Session) -> None:
    row = session.execute(
        sa.text(
            "SELECT quiet_at(now(), NULL, NULL), quiet_end(now(), NULL, NULL) = now(), quiet_start(now(), NULL, NULL)"
        )
    ).one()
    assert tuple(row) == (False, True, None)


def test_a_digest_comes_at_its_hour_each_day_or_on_its_weekday(session: Session) -> None:
    cases = [(m, hour, day) for m in MOMENTS for hour in (6, 8, 12, 22) for day in (None, 1, 5, 6, 7)]
    found = asked(session, "digest_at", [c[0] for c in cases], [c[1] for c in cases], [c[2] for c in cases])
    for (moment, hour, day), due in zip(cases, found, strict=True):
        expected = moment
        while (wall(expected).hour, wall(expected).minute) != (hour, 0) or day not in (
            None,
            wall(expected).isoweekday(),
        ):
            expected += timedelta(minutes=30)
        assert due == expected, (moment, hour, day)
