"""The one table of who may do what, and where: permission × role × scope. What is not in it is denied.

The administrator guide prints it (``python -m app.permissions``), ``app.access`` judges by it, and no route, command,
job or template decides for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "COMMANDS",
    "GRANTABLE",
    "INVESTIGATE",
    "TABLE",
    "WIDE",
    "Permission",
    "Role",
    "Rule",
    "Scope",
    "printed",
]


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
    CAMERA_ADD = "camera:add"
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
    REGISTER_SEARCH = "register:search"
    REGISTER_LIFT = "register:lift"
    RETENTION_READ = "retention:read"
    FINDING_READ = "finding:read"
    REVIEW_JUDGE = "review:judge"
    WITHHOLD_SEARCH = "withhold:search"
    REQUEST_OPEN = "request:open"
    BOARD_READ = "board:read"
    SCHEDULE_EXPORT = "schedule:export"
    SERVICE_OPERATE = "service:operate"


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
_INVESTIGATOR = frozenset({Role.INVESTIGATOR})
_SUPERVISOR = frozenset({Role.SUPERVISOR})
_OVERSEERS = frozenset({Role.AUDITOR, Role.SUPERVISOR})
_WATCHERS = frozenset({Role.AUDITOR, Role.STEWARD, Role.SUPERVISOR})
_NOBODY: frozenset[Role] = frozenset()  # of staff: only whoever may run commands on the machine
# Roles that only a competent authority (Data Protection Act 2018, Part 3) may have: they investigate.
INVESTIGATE = frozenset({Role.INVESTIGATOR, Role.SUPERVISOR})

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
    Permission.CAMERA_ADD: Rule("add a camera at its owner's door", Scope.AREA, _WRITERS | {Role.STEWARD}),
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
    Permission.RECORD_EXPORT: Rule(
        "export entries of the record, and its signed heads", Scope.ORGANISATION, _AUDITOR, True
    ),
    Permission.REGISTER_SEARCH: Rule("search the register of cameras", Scope.AREA, _INVESTIGATOR, True),
    Permission.REGISTER_LIFT: Rule(
        "let an investigator go beyond a cap of the register once", Scope.ORGANISATION, _SUPERVISOR, True
    ),
    Permission.RETENTION_READ: Rule(
        "see what is kept and what was removed", Scope.ORGANISATION, _ADMINISTRATORS | _AUDITOR
    ),
    Permission.FINDING_READ: Rule(
        "read and close findings of unusual searching, outside the searcher's line",
        Scope.ORGANISATION,
        _WATCHERS,
    ),
    Permission.REVIEW_JUDGE: Rule(
        "review searches of the register, outside the searcher's line", Scope.ORGANISATION, _WATCHERS
    ),
    Permission.WITHHOLD_SEARCH: Rule(
        "keep a search from owners until a date", Scope.ORGANISATION, frozenset({Role.SUPERVISOR}), True
    ),
    Permission.REQUEST_OPEN: Rule(
        "ask owners of cameras by a search of one's own, close requests of one's own cases",
        Scope.ORGANISATION,
        INVESTIGATE,
        True,
    ),
    Permission.BOARD_READ: Rule(
        "read what owners answered, in cases of one's own (a supervisor: in all)",
        Scope.ORGANISATION,
        INVESTIGATE,
        True,
    ),
    Permission.SCHEDULE_EXPORT: Rule(
        "take out the schedule of a case of one's own (a supervisor: of any)",
        Scope.ORGANISATION,
        INVESTIGATE,
        True,
    ),
    Permission.SERVICE_OPERATE: Rule("run, set up and repair the service", Scope.SERVICE, _NOBODY),
}

# Commands, and what each of them does by this table. They are the operator's: whoever may run them reads the keys, and
# so may do everything; nobody acts as a member of staff there. A command that is not named here is not served.
_OPERATE = Permission.SERVICE_OPERATE
COMMANDS: dict[str, Permission] = {
    "alarms test": _OPERATE,
    "alert draft": Permission.ALERT_DRAFT,
    "alert send": Permission.ALERT_SEND,
    "alert stop": Permission.DISPATCH_HOLD,
    "areas import": _OPERATE,
    "areas plan apply": _OPERATE,
    "areas plan boundaries": _OPERATE,
    "areas plan list": _OPERATE,
    "areas plan merge": _OPERATE,
    "areas plan move": _OPERATE,
    "areas plan preview": _OPERATE,
    "areas plan recode": _OPERATE,
    "areas plan rename": _OPERATE,
    "areas plan reverse": _OPERATE,
    "areas plan show": _OPERATE,
    "areas plan split": _OPERATE,
    "areas plan stop": _OPERATE,
    "areas shape add": _OPERATE,
    "areas shape end": _OPERATE,
    "audit export": Permission.RECORD_EXPORT,
    "audit heads export": Permission.RECORD_EXPORT,
    "audit verify": _OPERATE,
    "brake list": _OPERATE,
    "brake release": _OPERATE,
    "db check": _OPERATE,
    "db roles": _OPERATE,
    "db upgrade": _OPERATE,
    "demo": _OPERATE,
    "dispatch pause": Permission.DISPATCH_HOLD,
    "dispatch resume": Permission.DISPATCH_HOLD,
    "dispatch stop": Permission.DISPATCH_HOLD,
    "erasure contact": _OPERATE,
    "erasure person": _OPERATE,
    "erasure replay": _OPERATE,
    "erasure stores": _OPERATE,
    "identity end": Permission.ORGANISATION_ALTER,
    "identity group": Permission.ORGANISATION_ALTER,
    "identity set": Permission.ORGANISATION_ALTER,
    "identity show": Permission.ORGANISATION_READ,
    "keys rotate": _OPERATE,
    "keys status": _OPERATE,
    "ledger check": Permission.DISPATCH_READ,
    "ledger partitions": _OPERATE,
    "london disagreements": _OPERATE,
    "london load": _OPERATE,
    "organisation agreement add": Permission.ORGANISATION_ALTER,
    "organisation agreement end": Permission.ORGANISATION_ALTER,
    "organisation agreement list": Permission.ORGANISATION_READ,
    "organisation alter": Permission.ORGANISATION_ALTER,
    "organisation end": _OPERATE,
    "organisation limits": _OPERATE,
    "organisation standards": Permission.ORGANISATION_ALTER,
    "preferences clear": _OPERATE,
    "preferences set": _OPERATE,
    "preferences show": _OPERATE,
    "provider list": _OPERATE,
    "provider stand-in": _OPERATE,
    "register cells": _OPERATE,
    "register settings": Permission.ORGANISATION_ALTER,
    "retention classes": _OPERATE,
    "retention report": Permission.RETENTION_READ,
    "role grant": Permission.ROLE_GRANT,
    "role list": Permission.STAFF_READ,
    "role take": Permission.ROLE_TAKE,
    "sandbox": _OPERATE,
    "services status": _OPERATE,
    "services stop": _OPERATE,
    "settings": _OPERATE,
    "staff invite": Permission.STAFF_INVITE,
    "staff leave": Permission.STAFF_LEAVE,
    "staff list": Permission.STAFF_READ,
    "team add": Permission.TEAM_MANAGE,
    "team alter": Permission.TEAM_MANAGE,
    "team end": Permission.TEAM_MANAGE,
    "team list": Permission.STAFF_READ,
    "team member": Permission.TEAM_MANAGE,
    "ward": _OPERATE,
}

# Which roles a role may grant and take back, inside its own area; nobody grants to themselves.
GRANTABLE: dict[Role, frozenset[Role]] = {
    Role.FORCE_ADMINISTRATOR: EVERYBODY,
    Role.BOROUGH_ADMINISTRATOR: frozenset({Role.OFFICER, Role.APPROVER, Role.STEWARD, Role.LIAISON}),
}
# Roles whose rights are the whole organisation's wherever they are granted: only whoever may grant everywhere does.
WIDE = frozenset({Role.SUPERVISOR, Role.FORCE_ADMINISTRATOR, Role.AUDITOR})


def printed() -> str:
    """The table as Markdown, as the administrator guide has it."""
    names = [str(role) for role in Role]
    lines = [
        "| permission | what | where | again a factor | " + " | ".join(names) + " |",
        "|---|---|---|---|" + "---|" * len(names),
    ]
    for permission, rule in TABLE.items():
        marks = ["yes" if role in rule.roles else "" for role in Role]
        again = "yes" if rule.step_up else ""
        lines.append(f"| {permission} | {rule.words} | {rule.scope} | {again} | " + " | ".join(marks) + " |")
    lines += ["", "| who grants | which roles, inside their own area and never to themselves |", "|---|---|"]
    for role, may in GRANTABLE.items():
        every = "every role" if may == EVERYBODY else ", ".join(sorted(may))
        wide = ", ".join(sorted(WIDE & may))
        lines.append(
            f"| {role} | {every}{f'; {wide} only if their own role is everywhere' if wide else ''} |"
        )
    lines += ["", "| command | does |", "|---|---|"]
    lines += [f"| `wardlink {command}` | {permission} |" for command, permission in COMMANDS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(printed())  # noqa: T201
