"""What an auditor fills in to search the record, and a search told back in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.audit.events import EVENTS
from app.services.record_search import tickets, words
from app.services.record_search.tickets import Ticket
from app.services.record_search.wanted import Typed
from app.web import forms
from app.web.frame import moment


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


class Search(forms.Form):
    """What to look for, and why."""

    why = forms.Lines(
        "Why do you look?",
        longest=tickets.LONGEST_WHY,
        needed="Say why you look.",
        hint="It goes on the record with your search. Do not write anybody’s name or address.",
    )
    resident = forms.Line(
        "A resident’s e-mail address or mobile number",
        hint="In full. Finds what happened to that address and to what was written from it, and what its holder did.",
    )
    staff = forms.Line(
        "Work e-mail address of somebody of staff",
        hint="Finds what they did, and what was done to their account. With a resident: what they did there.",
    )
    by = forms.Pick(
        "Who did it", [("", "Anybody"), *((str(k), _sentence(v)) for k, v in words.ACTORS.items())]
    )
    event = forms.Pick("What happened", [("", "Anything"), *((k, _sentence(v)) for k, v in EVENTS.items())])
    s62 = forms.Pick(
        "Kind of processing",
        [("", "Any, or none"), *((str(k), v) for k, v in words.KINDS.items())],
        hint="Of personal data, as section 62 of the Data Protection Act 2018 lists them.",
    )
    subject = forms.Line(
        "What it was done to",
        hint="An alert’s reference, such as WL-7K3F9QX, or a kind and an id as entries show them, such as team:0192…",
    )
    area = forms.Line("Area", hint="Its code, or its whole name. Everything below it counts.")
    since = forms.Line("From", hint="London’s time.", longest=40)
    until = forms.Line("To", hint="London’s time.", longest=40)

    @property
    def typed(self) -> Typed:
        return Typed(**{name: self[name].data or "" for name in Typed.__slots__})


class Export(forms.Form):
    """As what kind of file."""

    file = forms.One(
        "Kind of file",
        [("csv", "CSV, for a spreadsheet"), ("jsonl", "JSON lines, to be checked against signed heads")],
        needed="Choose a kind of file.",
    )


def told(ticket: Ticket) -> list[tuple[str, str]]:
    """A search in words, from the ids that the record keeps."""
    asked = ticket.wanted
    shown: list[tuple[str, Any]] = [
        ("Person", "nobody whom your organisation’s record knows" if asked.nobody else None),
        ("Resident", f"contact {asked.contact}" if asked.contact is not None else None),
        ("Staff", asked.staff),
        ("Who did it", asked.by and words.ACTORS[asked.by]),
        ("What happened", asked.event and EVENTS.get(asked.event, asked.event)),
        ("Kind of processing", asked.s62 and words.KINDS[asked.s62]),
        ("Done to", asked.subject),
        ("Area", asked.area),
        ("From", asked.since and moment(datetime.fromisoformat(asked.since))),
        ("To", asked.until and moment(datetime.fromisoformat(asked.until))),
    ]
    return [(name, str(value)) for name, value in shown if value]
