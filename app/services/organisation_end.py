"""An organisation stops being a controller here: nobody of it gets in, nothing is sent, its people's consents end.

First, in one transaction, what closes every door; then, in blocks, the many rows: ``withdraw`` until it finds none.
Its alerts, its ledger and its record stay for as long as they are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.organisations import Organisation

MOST = 10_000
LONGEST_WHY = 500

_RUNNING = sa.text(
    "SELECT count(*) FROM dispatches WHERE controller_id = :organisation AND finished_at IS NULL"
)
_CLOSED = {
    "sessions": "DELETE FROM web_sessions w USING staff s WHERE s.id = w.staff_id AND s.organisation_id = :organisation",
    "invitations": """
        DELETE FROM staff_invitations i USING staff s WHERE s.id = i.staff_id AND s.organisation_id = :organisation
    """,
    "passkeys": "DELETE FROM staff_passkeys k USING staff s WHERE s.id = k.staff_id AND s.organisation_id = :organisation",
    "recovery_codes": """
        DELETE FROM staff_recovery_codes r USING staff s WHERE s.id = r.staff_id AND s.organisation_id = :organisation
    """,
    "staff": """
        UPDATE staff SET state = 'left', password_hash = NULL, totp_secret_enc = NULL, totp_step = NULL,
            oidc_issuer = NULL, oidc_subject = NULL
        WHERE organisation_id = :organisation AND state <> 'left'
    """,
    "roles": """
        UPDATE role_grants SET taken_at = :now, taken_by = :by
        WHERE organisation_id = :organisation AND taken_at IS NULL
    """,
    "providers": """
        UPDATE identity_providers SET ended_at = :now WHERE organisation_id = :organisation AND ended_at IS NULL
    """,
    "domains": "DELETE FROM identity_domains WHERE organisation_id = :organisation",
    "groups": "DELETE FROM group_roles WHERE organisation_id = :organisation",
    "replies": """
        UPDATE replies SET state = 'closed', closed_at = :now WHERE controller_id = :organisation AND state <> 'closed'
    """,
    "members": """
        DELETE FROM team_members m USING teams t WHERE t.id = m.team_id AND t.controller_id = :organisation
    """,
    "teams": "UPDATE teams SET ended_at = :now WHERE controller_id = :organisation AND ended_at IS NULL",
    "agreements": "UPDATE agreements SET ended_at = :now WHERE organisation_id = :organisation AND ended_at IS NULL",
    "signups": "DELETE FROM signups WHERE controller_id = :organisation",
    "digests": """
        UPDATE digest_items i SET state = 'stopped', settled_at = :now FROM dispatches d
        WHERE d.id = i.dispatch_id AND d.controller_id = :organisation AND i.state = 'waiting'
    """,
}
_WITHDRAW = sa.text(
    """
    WITH gone AS (
        UPDATE consents SET withdrawn_at = :now, withdrawn_how = 'organisation-ended'
        WHERE id IN (
            SELECT id FROM consents WHERE controller_id = :organisation AND withdrawn_at IS NULL LIMIT :most
        )
        RETURNING contact_id
    ), over AS (
        UPDATE subscriptions s SET ended_at = :now FROM gone
        WHERE s.contact_id = gone.contact_id AND s.controller_id = :organisation AND s.ended_at IS NULL
    )
    SELECT count(*) FROM gone
    """
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How many people of staff, roles and teams ended with it."""

    staff: int
    roles: int
    teams: int


def end(session: Session, slug: str, *, why: str, actor: audit.Actor, now: datetime) -> tuple[UUID, Ended]:
    """Close every door of an organisation; its id. ``withdraw`` does the rest. Twice is once.

    Raises Missing, Invalid without a reason, or Conflict while a dispatch of it runs.
    """
    if not why.strip() or len(why) > LONGEST_WHY or not why.isprintable():
        raise Invalid("why", f"Say in up to {LONGEST_WHY} characters why it ends.")
    # Whoever freezes a dispatch of it holds its row: so it is known by now, or sees that the organisation has ended.
    found = session.scalar(sa.select(Organisation).where(Organisation.slug == slug).with_for_update())
    if found is None:
        raise Missing("There is no organisation with this short name.")
    if found.ended_at is not None:
        return found.id, Ended(0, 0, 0)
    if running := session.execute(_RUNNING, {"organisation": found.id}).scalar_one():
        raise Conflict(f"{running:,} of its dispatches have not ended. Stop them first, or wait.")
    found.ended_at = now
    session.flush()
    values = {"organisation": found.id, "now": now, "by": actor.id or str(actor.kind)}
    counts: dict[str, int] = {
        name: session.execute(sa.text(statement), _bound(statement, values)).rowcount  # type: ignore[attr-defined]
        for name, statement in _CLOSED.items()
    }
    audit.record(
        session,
        event="organisation:end",
        subject=f"organisation:{found.id}",
        actor=actor,
        organisation=found.id,
        why=why.strip(),
        detail=counts,
    )
    return found.id, Ended(counts["staff"], counts["roles"], counts["teams"])


def withdraw(
    session: Session, organisation: UUID, *, actor: audit.Actor, now: datetime, most: int = MOST
) -> int:
    """End up to ``most`` consents to an organisation that has ended, with the subscriptions that go with them.

    Call it again, in another transaction, while it returns ``most``. Conflict for one that goes on.
    """
    ended = session.scalar(sa.select(Organisation.ended_at).where(Organisation.id == organisation))
    if ended is None:
        raise Conflict("This organisation has not ended.")
    values = {"organisation": organisation, "now": now, "most": most}
    gone: int = session.execute(_WITHDRAW, values).scalar_one()
    if gone:
        audit.record(
            session,
            event="consent:withdraw",
            subject=f"organisation:{organisation}",
            actor=actor,
            organisation=organisation,
            detail={"how": "organisation-ended", "withdrawn": gone},
        )
    return gone


def _bound(statement: str, values: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if f":{name}" in statement}
