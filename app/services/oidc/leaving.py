"""A provider says that somebody's session is over: it ends here at once (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.sign_in import Ceremony
from app.models.staff import Staff, WebSession
from app.services.oidc import tokens
from app.services.oidc.providers import Provider

REMEMBERED = timedelta(seconds=tokens.OLDEST_LOGOUT + 3 * tokens.LEEWAY)


def end(session: Session, provider: Provider, claims: tokens.Claims, *, origin: str, now: datetime) -> int:
    """End the session that a checked logout token names, or all of its subject's; how many. A token serves once."""
    name = f"{provider.issuer} {claims['jti']}".encode("utf-8", "replace")
    first = session.execute(
        insert(Ceremony)
        .values(
            digest=sha256(b"wardlink.oidc.logout" + name).digest(),
            kind="oidc",
            data={},
            expires_at=now + REMEMBERED,
        )
        .on_conflict_do_nothing()
        .returning(Ceremony.digest)
    )
    if first.scalar_one_or_none() is None:
        return 0
    theirs = sa.select(Staff.id).where(
        Staff.organisation_id == provider.organisation_id, Staff.oidc_issuer == provider.issuer
    )
    if "sub" in claims:
        theirs = theirs.where(Staff.oidc_subject == claims["sub"])
    which: list[sa.ColumnElement[bool]] = [WebSession.staff_id.in_(theirs)]
    sid = tokens.session_of(claims)
    if sid is not None:
        which.append(WebSession.oidc_sid == sid)
    ended = (
        session.execute(sa.delete(WebSession).where(*which).returning(WebSession.staff_id)).scalars().all()
    )
    for who in sorted(set(ended), key=str):
        audit.record(
            session,
            event="identity:logout",
            subject=f"staff:{who}",
            actor=audit.Actor(audit.ActorKind.PROVIDER, origin=origin),
            organisation=provider.organisation_id,
            detail={"sessions": ended.count(who)},
        )
    return len(ended)
