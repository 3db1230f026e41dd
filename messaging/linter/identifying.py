"""Who a text is about: names, number plates, telephone numbers, e-mail addresses, dates of birth.

For what strangers are asked to look for: it may say what somebody wore, never who they are. Found by pattern, so a name
that is also a word can pass; whoever writes is told the rule, and what is found is refused, not changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Finding", "findings"]


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind``: name, plate, phone, email, birth or link. ``text``: what was found, as it was written."""

    kind: str
    text: str

    @property
    def message(self) -> str:
        """What is wrong with it, in plain English."""
        return f"Take out “{self.text}”: {_WHY[self.kind]}"


_WHY = {
    "name": "it looks like a person's name. Say what they looked like instead.",
    "plate": "it looks like a number plate. Say the colour, make and kind of vehicle instead.",
    "phone": "it looks like a telephone number.",
    "email": "it looks like an e-mail address.",
    "birth": "it looks like a date of birth. Say how old they looked instead.",
    "link": "it is a link. Owners are asked to trust one link only, the one in the message.",
}

_EMAIL = re.compile(r"[\w.+'-]+\s?(?:@|\(at\)|\[at\])\s?[\w-]+(?:\.[\w-]+)+", re.IGNORECASE)
_LINK = re.compile(
    r"(?:https?://|www\.)\S+|\b[\w-]+\.(?:co\.uk|org\.uk|gov\.uk|com|net|org|info)\b\S*", re.IGNORECASE
)
_PHONE = re.compile(r"(?<![\w.])(?:\+|\(?0)[0-9](?:[ ().-]{0,2}[0-9]){7,13}(?![\w])")
# Today's form, the two before it, and Northern Ireland's; with or without the space, in any case when it has digits
# where a plate has them.
_PLATE = re.compile(
    r"\b(?:[A-Z]{2}[0-9]{2}[ -]?[A-Z]{3}|[A-Z][0-9]{1,3}[ -]?[A-Z]{3}|[A-Z]{3}[ -]?[0-9]{1,3}[A-Z]"
    r"|[A-Z]{3}[ -]?[0-9]{3,4}|[A-Z]{1,2}[ -][0-9]{4})\b"
)
_PLATE_TODAY = re.compile(r"\b[a-z]{2}[0-9]{2} ?[a-z]{3}\b", re.IGNORECASE)
_DAY = r"(?:[0-3]?[0-9])(?:st|nd|rd|th)?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_BIRTH = re.compile(
    rf"\b(?:d\.?\s?o\.?\s?b\.?\b|born\b(?:\s+on)?|date of birth)[:\s]*"
    rf"(?:{_DAY}[/. -](?:[01]?[0-9])[/. -](?:[0-9]{{4}}|[0-9]{{2}})|{_DAY}\s+{_MONTH}(?:\s+[0-9]{{2,4}})?|[0-9]{{4}})?"
    rf"|\b{_DAY}[/.-](?:0?[1-9]|1[0-2])[/.-](?:19[0-9]{{2}}|200[0-9]|201[0-9])\b"
    rf"|\b{_DAY}\s+{_MONTH}\s+(?:19[0-9]{{2}}|200[0-9]|201[0-9])\b",
    re.IGNORECASE,
)
_CAPITAL = r"(?:[A-Z]['’][A-Z]|Mac|Mc)?[A-Z]?[A-Za-zÀ-ÖØ-öø-ÿ'’-]*[a-zà-öø-ÿ]"
_WORD = rf"(?=[A-ZÀ-ÖØ-Þ]){_CAPITAL}"
_TITLED = re.compile(
    rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Dame|Lord|Lady|Rev|PC(?! World)|PCSO|DC|DS|DI|Sgt)\b\.?\s+{_WORD}(?:\s+{_WORD})?"
)
_CALLED = re.compile(
    rf"\b(?:[Nn]amed?|[Cc]alled|[Kk]nown as|[Aa]lias|aka|AKA|[Nn]icknamed)\s+(?:is\s+)?[\"“'‘]?{_WORD}(?:\s+{_WORD})?"
)
_GIVEN = frozenset(
    """
    aaron abdul abdullah abigail adam adrian ahmed aisha alan albert alejandro alex alexander alexandra alfie ali
    alice alison amanda amber amelia amina amy andrea andreea andrew andrzej angela anil anita ann anna anne
    anthony antonio arjun arthur ashley asif ayesha barbara ben benjamin bernard beth billy bogdan brandon brian
    bruce callum cameron carl carlos carol caroline catherine charles charlie charlotte cheryl chloe chris
    christian christina christine christopher claire colin connor craig cristian dan daniel danielle darren dave
    david dean deborah declan denise dennis derek diana diane dmitri dominic donald donna dorothy douglas duncan
    dylan edward eileen elaine eleanor elena elizabeth ella ellie emily emma eric ethan evelyn farah fatima fiona
    florence frances francesca francis frank freddie gareth gary gavin geoffrey george georgia gerald gillian glenn
    gordon grace graham greg gregory hannah hans harold harriet harry hassan hayley heather helen henry hugh
    hussain ian ibrahim imran ioana isaac isabella ivan jack jackie jacob jake james jamie jan jane janet janice
    jasmine jason jay jean jeffrey jennifer jeremy jerome jessica jill jo joan joanna joanne joe joel john jonathan
    jordan jose joseph josh joshua joyce juan judith julia julian julie justin karen karl kate katherine kathleen
    katie keith kelly kenneth kerry kevin khalid kieran kim krzysztof kwame kyle laura lauren lawrence lee leon
    leonard leroy lewis liam linda lisa louis louise lucas lucy luke lynn malcolm mandy marcin marcus margaret
    maria marie marina mario mark martin mary maryam matthew maureen max megan melanie melissa michael michelle
    mike mohamed mohammad mohammed molly monica muhammad musa mustafa nadia naomi natalie natasha nathan neil
    nicholas nick nicola nigel noah oliver olivia omar oscar osman owen pamela patricia patrick paul paula pauline
    pawel pedro peter philip phillip piotr priya rachel raj rajesh ralph raymond rebecca reece rhys richard rita
    robert robin roger ronald rory rosemary ross roy russell ruth ryan sally sam samantha samuel sandra sanjay sara
    sarah scott sean sergei shane sharon shaun sheila shirley simon sofia sophia sophie stacey stanley stephanie
    stephen steve steven stuart sunil susan suzanne svetlana tanya tariq teresa terry thomas tim timothy tina toby
    tom tomasz tony tracey tracy tyler tyrone valerie vanessa vera veronica victor victoria vijay vikram vincent
    wayne wendy wesley william yasmin yusuf yvonne zac zachary zahra zainab zoe
    """.split()  # noqa: SIM905
)
# After a given name, what makes it a place and not a person: "Victoria Road", "St James Park".
_PLACE = frozenset(
    """
    road street lane avenue close drive way place square gardens garden grove crescent terrace court park hill
    green common station bridge gate row mews walk rise parade hospital school college church house estate
    underground
    """.split()  # noqa: SIM905
)
_PAIR = re.compile(rf"\b({_WORD})\s+({_WORD})\b")


def findings(text: str) -> list[Finding]:
    """What in a text says who somebody is, in the order in which it stands, each once."""
    found: list[tuple[int, Finding]] = []
    for kind, pattern in (
        ("email", _EMAIL), ("link", _LINK), ("phone", _PHONE), ("birth", _BIRTH), ("plate", _PLATE),
        ("plate", _PLATE_TODAY), ("name", _TITLED), ("name", _CALLED),
    ):  # fmt: skip
        found += [(m.start(), Finding(kind, m[0].strip())) for m in pattern.finditer(text)]
    found += [(m.start(), Finding("name", m[0])) for m in _pairs(text)]
    found.sort(key=lambda one: one[0])
    kept: list[Finding] = []
    end = -1
    for at, one in found:
        if at >= end:  # an address of e-mail holds a link: once is enough
            kept.append(one)
            end = at + len(one.text)
    return list(dict.fromkeys(kept))


def _pairs(text: str) -> list[re.Match[str]]:
    """A given name and a word with a capital after it, that is not the name of a place."""
    found, at = [], 0
    while (match := _PAIR.search(text, at)) is not None:
        first, second = match[1].lower(), match[2].lower()
        if first in _GIVEN and second not in _PLACE:
            found.append(match)
            at = match.end()
        else:
            at = match.end(1)
    return found
