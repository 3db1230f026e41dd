"""Days of terms and agreements as people read them, in London."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

LONDON = ZoneInfo("Europe/London")


def date(day: dt.date) -> str:
    """ "3 June 2026"."""
    return f"{day.day} {day:%B %Y}"


def last_day(at: dt.datetime) -> str:
    """The day in which a moment still lies: what ends at midnight ends on the day before."""
    return date((at - dt.timedelta(microseconds=1)).astimezone(LONDON).date())


def end_of(day: dt.date) -> dt.datetime:
    """The moment at which a day of London's is over."""
    return dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), LONDON).astimezone(dt.UTC)


def today(now: dt.datetime) -> dt.date:
    """London's date."""
    return now.astimezone(LONDON).date()
