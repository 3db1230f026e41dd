"""The form that an alert is written in, and what it shows of areas and of the text's length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import wtforms
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.access import Who
from app.errors import Invalid
from app.services import alerts, compose
from app.services.alerts import Words
from app.services.budgets.allowances import Allowance, amount
from app.services.compose import Count
from app.services.staff import BoroughChoice, Choice
from app.web.forms import Form, Line, Lines, Many, One
from config.settings import Settings

LONGEST_COUNTED = 2_000
LONG_AGO = datetime.min.replace(tzinfo=UTC)

KINDS = (
    ("alert", "Alert", "Something has happened, or may happen: people should know"),
    ("appeal", "Appeal", "You ask what people saw. Each message has a link to reply"),
    ("missing", "Missing person", "You ask where somebody is. Each message has a link to reply"),
    ("advice", "Advice", "How to stay safe, or news from your team"),
    ("event", "Event", "Where people can meet you"),
    ("outcome", "Outcome", "What became of something that you wrote about"),
)
URGENCIES = (
    ("routine", "Routine", "Goes out behind urgent ones. We stop trying after 2 days"),
    ("urgent", "Urgent", "Goes before all that is routine. We stop trying after 12 hours"),
    ("risk-to-life", "Risk to life", "Goes first. We stop trying after 6 hours"),
)
TOPICS = (
    ("incidents and appeals", "Incidents and appeals"),
    ("missing people", "Missing people"),
    ("prevention", "Prevention"),
    ("events", "Events"),
    ("outcomes", "Outcomes"),
)
CHANNELS = (("email", "E-mail"), ("sms", "Text message"))
NAMES = {**{value: text for value, text, _ in (*KINDS, *URGENCIES)}, **dict((*TOPICS, *CHANNELS))}
KIND_HINTS = {value: hint for value, _, hint in KINDS}
URGENCY_HINTS = {value: hint for value, _, hint in URGENCIES}


def _two(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in rows]


class Written(Form):
    """One form for all of an alert: officers write standing up."""

    kind = One("What is it?", _two(KINDS), needed="Choose what it is.")
    urgency = One("How urgent is it?", _two(URGENCIES), needed="Choose how urgent it is.")
    headline = Line(
        "Headline",
        longest=alerts.LONGEST_HEADLINE,
        needed="Enter the headline.",
        hint="Up to 120 characters. It is the subject of the e-mail.",
    )
    body = Lines(
        "What happened",
        longest=alerts.LONGEST_BODY,
        needed="Say what happened.",
        hint="Where, when, and what it means for people. An empty line begins a new paragraph; "
        "**two stars** make words bold.",
    )
    what_to_do = Lines(
        "What people should do (optional)",
        longest=alerts.LONGEST_TO_DO,
        hint="Never leave people with a worry and nothing to do.",
    )
    how_to_tell = Lines(
        "How to tell you (optional)",
        longest=alerts.LONGEST_TO_TELL,
        hint="For example: call 101 and say CAD 1234. It stands beside the link to reply.",
    )
    sms_text = Lines(
        "Text message (optional)",
        longest=alerts.LONGEST_SMS,
        hint="If you leave it empty, the headline is sent. Your organisation’s name, the reference and the way "
        "to stop are added.",
    )
    areas = Many("Where", needed="Choose at least one area.")
    topic = One(
        "Topic",
        _two(TOPICS),
        needed="Choose a topic.",
        hint="People choose topics: only those who chose this one get the alert.",
    )
    channels = Many("How it goes out", CHANNELS, needed="Choose e-mail, text message or both.")
    seen = wtforms.HiddenField()

    def words(self, ground: Ground, *, except_areas: Sequence[str] = ()) -> Words:
        """What was written, for the services. ``except_areas``: what the draft leaves out, unless it is now chosen."""
        chosen = ground.without_wards_of_whole_boroughs(self.areas.data)
        return {
            "kind": self.kind.data,
            "urgency": self.urgency.data,
            "topic": self.topic.data,
            "headline": self.headline.data,
            "body": self.body.data,
            "what_to_do": self.what_to_do.data,
            "how_to_tell": self.how_to_tell.data,
            "sms_text": self.sms_text.data,
            "channels": self.channels.data,
            "audience_expression": {
                "areas": chosen,
                "except_areas": [code for code in except_areas if code not in chosen],
            },
        }


@dataclass(frozen=True, slots=True)
class Ground:
    """The areas that may be chosen on the form. ``others``: those of a draft that are among none of the boroughs."""

    boroughs: list[BoroughChoice]
    others: list[Choice]

    def choices(self) -> list[tuple[str, str]]:
        found = [(one.code, one.name) for one in self.others]
        for borough in self.boroughs:
            found += [(borough.code, borough.name)] if borough.whole else []
            found += [(ward.code, ward.name) for ward in borough.wards]
        return found

    def without_wards_of_whole_boroughs(self, codes: Sequence[str]) -> list[str]:
        """The same people by fewer codes, so that they can be named in a line."""
        chosen = set(codes)
        covered = {w.code for b in self.boroughs if b.code in chosen for w in b.wards}
        return [code for code in codes if code not in covered]

    def names(self, codes: Sequence[str]) -> list[str]:
        """What these areas are called: a whole borough as such."""
        chosen = set(codes)
        found = [one.name for one in self.others if one.code in chosen]
        for borough in self.boroughs:
            if borough.code in chosen:
                found.append(f"all of {borough.name}")
            else:
                found += [ward.name for ward in borough.wards if ward.code in chosen]
        return found


def filled(alert: Any) -> dict[str, Any]:
    """The form's values from a draft."""
    names = ("kind", "urgency", "topic", "headline", "body", "what_to_do", "how_to_tell", "sms_text")
    values: dict[str, Any] = {name: getattr(alert, name) for name in names}
    return values | {
        "channels": list(alert.channels),
        "areas": list(alert.audience.get("areas", [])),
        "seen": alert.changed_at.isoformat(),
    }


def count(
    db: Session, who: Who, written: Mapping[str, Any], settings: Settings
) -> tuple[Count | None, str | None]:
    """How long the text is that is being written, or what is wrong with it; nothing of either when there is none."""
    text = (written.get("sms_text") or "").strip() or (written.get("headline") or "").strip()
    if not text:
        return None, None
    if len(text) > LONGEST_COUNTED:
        return None, f"The text message must be {alerts.LONGEST_SMS} characters or fewer."
    kind, urgency = written.get("kind"), written.get("urgency")
    try:
        found = compose.count_text(
            db,
            who,
            kind=kind if kind in KIND_HINTS else "alert",
            urgency=urgency if urgency in URGENCY_HINTS else "routine",
            text=text.encode("utf-8", "replace").decode(),
            public_url=settings.public_url,
            segment_pence=settings.sms_segment_pence,
        )
    except Invalid as error:
        return None, error.message
    return found, None


def letter(html: str) -> Markup:
    """An e-mail from below its heading to above its foot, as it leaves: what is around has styles of its own."""
    return Markup(html.partition("</h1>")[2].partition("<hr ")[0])  # noqa: S704  made safe by messaging


def price(pence: Decimal) -> str:
    """“3.75p”, “£1,204.00”."""
    if pence < 100:
        return f"{pence.normalize():f}p"
    return f"£{pence / 100:,.2f}"


def left(one: Allowance) -> str:
    """“200 of 1,000 text segments left today”"""
    when = "today" if one.period == "day" else "this month"
    if one.measure == "pence":
        return f"{amount('pence', one.left)} of {amount('pence', one.most)} left {when}"
    return f"{int(one.left):,} of {amount(one.measure, one.most)} left {when}"


def too_much(tight: Sequence[Allowance], *, vital: bool) -> str:
    """What the page says of the limits that a sending would go over; nothing when there are none."""
    if not tight:
        return ""
    which = " and ".join(left(one) for one in tight)
    if vital:
        return f"Your organisation has only {which}. Risk to life is sent all the same, and counts."
    return (
        f"Your organisation has only {which}: this would be refused. Choose fewer areas or channels, send it later, "
        "or ask your administrator for a higher limit."
    )


def moment(text: str | None) -> datetime:
    """When the alert was last changed, as the page remembers it; long ago when it says nothing that can be read."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return LONG_AGO
    return found if found.tzinfo else LONG_AGO
