"""The one table of who may do what, and where: permission × role × scope. What is not in it is denied.

The administrator guide prints it (``python -m app.permissions``), ``app.access`` judges by it, and no route, command,
job or template decides for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["GRANTABLE", "INVESTIGATE", "TABLE", "Permission", "Role", "Rule", "Scope"]


class Role(StrEnum):
    """What somebody of staff is, on an area, for a term."""

    OFFICER = "officer"
    APPROVER = "approver"
    INVESTIGATOR = "investigator"
    SUPERVISOR = "supervisor"
    STEWARD = "register-steward"
    LIAISON = "coordinator-liaison"
    BOROUGH_ADMINISTRATOR = "borough-administrator"
    FORCE_ADMINISTRATOR = "force-administrator"
    AUDITOR = "auditor"

    @property
    def words(self) -> str:
        """As pages write it."""
        return str(self).replace("-", " ").capitalize()


class Scope(StrEnum):
    """What a permission reaches, always within one's own organisation."""

    OWN = "own"  # one's own account
    TEAM = "team"  # one's team, and what belongs to no team; without a team, the organisation
    AREA = "area"  # where the role is granted: every area of the thing must lie in there
    ORGANISATION = "organisation"
    SERVICE = "service"  # the whole installation: nothing of anybody's


class Permission(StrEnum):
    """What can be done, as ``subject:verb``."""

    ACCOUNT_MANAGE = "account:manage"
    ACCOUNT_SECURE = "account:secure"
    MISUSE_REPORT = "misuse:report"
    MISUSE_READ = "misuse:read"
    STATUS_SEE = "status:see"
    ALERT_READ = "alert:read"
    ALERT_DRAFT = "alert:draft"
    ALERT_SEND = "alert:send"
    DISPATCH_READ = "dispatch:read"
    DISPATCH_HOLD = "dispatch:hold"
    REPLY_READ = "reply:read"
    REPLY_ANSWER = "reply:answer"
    STAFF_READ = "staff:read"
    STAFF_INVITE = "staff:invite"
    STAFF_LEAVE = "staff:leave"
    ROLE_GRANT = "role:grant"
    ROLE_TAKE = "role:take"
    TEAM_MANAGE = "team:manage"
    ORGANISATION_READ = "organisation:read"
    ORGANISATION_ALTER = "organisation:alter"
    RECORD_SEARCH = "record:search"
    RECORD_EXPORT = "record:export"
    RETENTION_READ = "retention:read"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. ``step_up``: a factor shown again within the last minutes."""

    words: str
    scope: Scope
    roles: frozenset[Role]
    step_up: bool = False


EVERYBODY = frozenset(Role)
_WRITERS = frozenset({Role.OFFICER, Role.APPROVER})
_ADMINISTRATORS = frozenset({Role.BOROUGH_ADMINISTRATOR, Role.FORCE_ADMINISTRATOR})
_FORCE = frozenset({Role.FORCE_ADMINISTRATOR})
_AUDITOR = frozenset({Role.AUDITOR})
_OVERSEERS = frozenset({Role.AUDITOR, Role.SUPERVISOR})

TABLE: dict[Permission, Rule] = {
    Permission.ACCOUNT_MANAGE: Rule("see one's own account, end one's sessions", Scope.OWN, EVERYBODY),
    Permission.ACCOUNT_SECURE: Rule(
        "change one's own password, passkeys, app and recovery codes", Scope.OWN, EVERYBODY, True
    ),
    Permission.MISUSE_REPORT: Rule("report misuse", Scope.OWN, EVERYBODY),
    Permission.MISUSE_READ: Rule("read and close reports of misuse", Scope.ORGANISATION, _OVERSEERS),
    Permission.STATUS_SEE: Rule("see how the service stands", Scope.SERVICE, EVERYBODY),
    Permission.ALERT_READ: Rule(
        "read alerts and drafts", Scope.ORGANISATION, _WRITERS | _ADMINISTRATORS | _AUDITOR | {Role.LIAISON}
    ),
    Permission.ALERT_DRAFT: Rule("write, change and discard a draft", Scope.AREA, _WRITERS),
    Permission.ALERT_SEND: Rule("send an alert", Scope.AREA, _WRITERS),
    Permission.DISPATCH_READ: Rule(
        "follow a dispatch", Scope.ORGANISATION, _WRITERS | _ADMINISTRATORS | _AUDITOR | {Role.LIAISON}
    ),
    Permission.DISPATCH_HOLD: Rule(
        "pause, resume and stop a dispatch", Scope.AREA, _WRITERS | _ADMINISTRATORS
    ),
    Permission.REPLY_READ: Rule("read what residents replied", Scope.TEAM, _WRITERS),
    Permission.REPLY_ANSWER: Rule("answer, close and reopen replies", Scope.TEAM, _WRITERS),
    Permission.STAFF_READ: Rule("list staff and their roles", Scope.ORGANISATION, _ADMINISTRATORS | _AUDITOR),
    Permission.STAFF_INVITE: Rule("invite somebody to become staff", Scope.AREA, _ADMINISTRATORS, True),
    Permission.STAFF_LEAVE: Rule("let somebody leave, and sign them out", Scope.AREA, _ADMINISTRATORS, True),
    Permission.ROLE_GRANT: Rule("grant a role", Scope.AREA, _ADMINISTRATORS, True),
    Permission.ROLE_TAKE: Rule("take a role back", Scope.AREA, _ADMINISTRATORS, True),
    Permission.TEAM_MANAGE: Rule("make, change and end teams", Scope.AREA, _ADMINISTRATORS),
    Permission.ORGANISATION_READ: Rule(
        "see the organisation's settings and agreements", Scope.ORGANISATION, _ADMINISTRATORS | _AUDITOR
    ),
    Permission.ORGANISATION_ALTER: Rule(
        "change the organisation's settings and agreements", Scope.ORGANISATION, _FORCE, True
    ),
    Permission.RECORD_SEARCH: Rule("search the record", Scope.AREA, _AUDITOR, True),
    Permission.RECORD_EXPORT: Rule("export the record's signed heads", Scope.ORGANISATION, _AUDITOR, True),
    Permission.RETENTION_READ: Rule(
        "see what is kept and what was removed", Scope.ORGANISATION, _ADMINISTRATORS | _AUDITOR
    ),
}

# Which roles a role may grant and take back, inside its own area; nobody grants to themselves.
GRANTABLE: dict[Role, frozenset[Role]] = {
    Role.FORCE_ADMINISTRATOR: EVERYBODY,
    Role.BOROUGH_ADMINISTRATOR: frozenset({Role.OFFICER, Role.APPROVER, Role.STEWARD, Role.LIAISON}),
}
# Roles that only a competent authority (Data Protection Act 2018, Part 3) may have: they investigate.
INVESTIGATE = frozenset({Role.INVESTIGATOR, Role.SUPERVISOR})
