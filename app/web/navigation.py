"""What the pages of staff offer: only what the person who looks may do. Templates ask it here."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from flask import g, url_for

from app import access
from app.access import Who
from app.errors import Missing
from app.permissions import Permission
from app.web import session


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the menu. ``section``: what a page of it calls itself."""

    text: str
    endpoint: str
    section: str
    permission: Permission

    @property
    def address(self) -> str:
        return url_for(self.endpoint)


MENU = (
    Entry("Alerts", "compose.home", "alerts", Permission.ALERT_READ),
    Entry("Inbox", "inbox.replies", "inbox", Permission.REPLY_READ),
    Entry("Add a camera", "door.door", "door", Permission.CAMERA_ADD),
    Entry("Search cameras", "search.search", "search", Permission.REGISTER_SEARCH),
    Entry("Cases", "board.cases", "cases", Permission.BOARD_READ),
    Entry("People", "people.people", "people", Permission.STAFF_READ),
    Entry("Teams", "teams.listed", "teams", Permission.TEAM_MANAGE),
    Entry("Organisation", "organisation.organisation", "organisation", Permission.ORGANISATION_READ),
    Entry("Lift a cap", "lifts.listed", "lifts", Permission.REGISTER_LIFT),
    Entry("Record", "record.search", "record", Permission.RECORD_SEARCH),
    Entry("Retention", "retention.report", "retention", Permission.RETENTION_READ),
    Entry("Findings", "findings.listed", "findings", Permission.FINDING_READ),
    Entry("Reviews", "reviews.listed", "reviews", Permission.REVIEW_JUDGE),
    Entry("Withholding", "withholding.find", "withholding", Permission.WITHHOLD_SEARCH),
    Entry("Misuse", "misuse.reports", "misuse", Permission.MISUSE_READ),
    Entry("Your account", "account.page", "account", Permission.ACCOUNT_MANAGE),
)


def may(permission: str) -> bool:
    """Whether the visitor may do this anywhere. False for who is not staff, or has just been cut off."""
    who = _who()
    return who is not None and access.may(who, Permission(permission))


def menu() -> list[Entry]:
    """The entries of the visitor's menu."""
    return [entry for entry in MENU if may(entry.permission)]


def _who() -> Who | None:
    """Looked up once. Error pages ask as well, so what fails here must not fail again there."""
    if "menu_of" not in g:
        g.menu_of = None
        visitor = session.visitor()
        if visitor is not None and visitor.staff_id is not None:
            # They left, or their organisation ended, since the session was found.
            with contextlib.suppress(Missing):
                g.menu_of = session.who()
    found: Who | None = g.menu_of
    return found
