"""How an organisation's investigators name a case, and where an owner hands footage over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Invalid
from app.models.register import RegisterSetting

LONGEST_PATTERN, LONGEST_URL, LONGEST_NAME = 200, 300, 60
PLACES = ("{reference}", "{request}")
_URL = re.compile(r"https://[!#-;=?-\[\]_a-z~{}]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Shown:
    """The settings as they stand; an organisation that has none of its own has the usual."""

    case_pattern: str
    case_example: str
    portal_name: str | None
    portal_url: str | None


# As the table itself has it for whoever sets nothing.
USUAL = Shown("^[A-Z0-9][A-Z0-9/-]{3,39}$", "1234567/26", None, None)


def shown(session: Session, organisation_id: UUID) -> Shown:
    """What holds for an organisation."""
    found = session.get(RegisterSetting, organisation_id, populate_existing=True)
    if found is None:
        return USUAL
    return Shown(found.case_pattern, found.case_example, found.portal_name, found.portal_url)


def alter(
    session: Session,
    organisation_id: UUID,
    *,
    case_pattern: str | None = None,
    case_example: str | None = None,
    portal: tuple[str, str] | None = None,
    no_portal: bool = False,
    actor: audit.Actor,
) -> Shown:
    """Change what is given. ``portal``: its name, and its address with ``{reference}`` and ``{request}`` in it.

    Invalid names the field; the example must fit the pattern, as investigators are shown it.
    """
    before = shown(session, organisation_id)
    pattern, example = case_pattern or before.case_pattern, case_example or before.case_example
    _check_pattern(session, pattern, example)
    name, url = before.portal_name, before.portal_url
    if portal is not None:
        name, url = _portal(*portal)
    elif no_portal:
        name = url = None
    values = {"case_pattern": pattern, "case_example": example, "portal_name": name, "portal_url": url}
    session.execute(
        insert(RegisterSetting)
        .values(organisation_id=organisation_id, **values)
        .on_conflict_do_update(index_elements=["organisation_id"], set_=values)
    )
    audit.record(
        session,
        event="register:settings",
        subject=f"organisation:{organisation_id}",
        actor=actor,
        organisation=organisation_id,
        detail={"portal": name is not None, "pattern": case_pattern is not None},
    )
    return shown(session, organisation_id)


def _check_pattern(session: Session, pattern: str, example: str) -> None:
    if len(pattern) > LONGEST_PATTERN or not pattern.startswith("^") or not pattern.endswith("$"):
        raise Invalid(
            "case_pattern",
            f"A pattern begins with ^, ends with $ and has up to {LONGEST_PATTERN} characters.",
        )
    try:
        with session.begin_nested():  # as the gate will: by PostgreSQL's own rules
            fits = session.execute(
                sa.text("SELECT :example ~ :pattern"), {"example": example, "pattern": pattern}
            )
            if not fits.scalar_one():
                raise Invalid("case_example", "The example does not fit the pattern: give one that does.")
    except sa.exc.DataError:
        raise Invalid("case_pattern", "That is not a regular expression.") from None


def _portal(name: str, url: str) -> tuple[str, str]:
    name, url = " ".join(name.split()), url.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid("portal_name", f"Give the portal's name, up to {LONGEST_NAME} characters.")
    plain = url
    for place in PLACES:
        plain = plain.replace(place, "x")
    if len(url) > LONGEST_URL or not _URL.fullmatch(url) or "{" in plain or "}" in plain or not _hosted(url):
        raise Invalid(
            "portal_url",
            "An address begins with https://, and holds no places but {reference} and {request}, after its host.",
        )
    return name, url


def _hosted(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return "." in host and "{" not in parts.netloc and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        return False
