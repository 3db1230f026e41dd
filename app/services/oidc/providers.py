"""Which organisation's staff sign in where, and as whom we are known there: set by the operator."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import access
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.access import RoleGrant
from app.models.organisations import Organisation
from app.models.sign_in import IdentityDomain, IdentityProvider
from app.models.staff import Staff, WebSession
from app.services import organisations
from app.services.oidc import transport

MOST_DOMAINS, MOST_FACTORS = 50, 20
_DOMAIN = re.compile(r"(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_SLUG = re.compile(r"[a-z][a-z0-9-]{1,59}")
_WORD = re.compile(r"[\x21-\x7e]{1,200}")


@dataclass(frozen=True, slots=True)
class Provider:
    """An organisation's identity provider, and as whom we are known there."""

    organisation_id: UUID
    slug: str
    organisation: str
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    groups_claim: str
    factors: tuple[str, ...]


def put(
    session: Session,
    organisation: str,
    *,
    issuer: str,
    client_id: str,
    client_secret: str,
    domains: Sequence[str] = (),
    groups_claim: str = "groups",
    factors: Sequence[str] = ("mfa",),
    sandbox: bool = False,
    actor: audit.Actor,
) -> Provider:
    """Set an organisation's provider in place of the one it has. Raises Invalid, Missing or Conflict.

    ``domains``: of the e-mail addresses that lead there from the sign-in page, and that its people may bring.
    """
    found = organisations.standing(session, organisation)
    if not transport.allowed(issuer, sandbox=sandbox) or "?" in issuer or len(issuer) > 500:
        raise Invalid("issuer", "The issuer is an address that begins with https://, without ? or #.")
    for name, value in (("client_id", client_id), ("groups_claim", groups_claim)):
        if not _WORD.fullmatch(value):
            raise Invalid(name, "This has 1 to 200 characters, and no spaces.")
    if not 8 <= len(client_secret) <= 500 or not client_secret.isascii() or not client_secret.isprintable():
        raise Invalid("client_secret", "The client secret has 8 to 500 plain characters.")
    if not 1 <= len(factors) <= MOST_FACTORS or not all(_WORD.fullmatch(one) for one in factors):
        raise Invalid("factors", f"Name 1 to {MOST_FACTORS} words that tell of a second factor.")
    wanted = list(dict.fromkeys(one.strip().lower() for one in domains))
    if len(wanted) > MOST_DOMAINS or not all(_DOMAIN.fullmatch(one) for one in wanted):
        raise Invalid("domains", f"Name up to {MOST_DOMAINS} domains like police.example.")
    other = session.scalar(
        sa.select(IdentityProvider).where(
            IdentityProvider.issuer == issuer, IdentityProvider.organisation_id != found.id
        )
    )
    if other is not None:
        raise Conflict("Another organisation has this issuer.")
    row = session.get(IdentityProvider, found.id, with_for_update=True)
    if row is None:
        row = IdentityProvider(organisation_id=found.id)
        session.add(row)
    row.issuer, row.client_id, row.client_secret = issuer, client_id, client_secret
    row.groups_claim, row.factors, row.ended_at = groups_claim, list(dict.fromkeys(factors)), None
    session.flush()
    session.execute(sa.delete(IdentityDomain).where(IdentityDomain.organisation_id == found.id))
    for domain in wanted:
        taken = session.execute(
            insert(IdentityDomain)
            .values(domain=domain, organisation_id=found.id)
            .on_conflict_do_nothing()
            .returning(IdentityDomain.domain)
        )
        if taken.scalar_one_or_none() is None:
            raise Conflict(f"{domain} belongs to the sign-in of another organisation.")
    note(session, "identity:set", found.id, actor, domains=len(wanted), factors=len(row.factors))
    return _provider(row, found)


def end(session: Session, organisation: str, *, actor: audit.Actor, now: datetime) -> int:
    """Nobody comes in by an organisation's provider any more, and whoever did is signed out; how many people."""
    found = organisations.standing(session, organisation)
    row = session.get(IdentityProvider, found.id, with_for_update=True)
    if row is None or row.ended_at is not None:
        raise Missing("The organisation has no identity provider.")
    row.ended_at = now
    session.flush()
    session.execute(sa.delete(IdentityDomain).where(IdentityDomain.organisation_id == found.id))
    linked = sa.select(Staff.id).where(Staff.organisation_id == found.id, Staff.oidc_subject.is_not(None))
    session.execute(sa.delete(WebSession).where(WebSession.staff_id.in_(linked)))
    session.execute(
        sa.update(RoleGrant)
        .where(
            RoleGrant.organisation_id == found.id,
            RoleGrant.source == "group",
            access.standing(now),
        )
        .values(taken_at=now, taken_by=actor.id or str(actor.kind))
    )
    count = session.scalar(sa.select(sa.func.count()).select_from(linked.subquery())) or 0
    note(session, "identity:end", found.id, actor, people=count)
    return count


def of_slug(session: Session, slug: str) -> Provider:
    """The provider of an organisation by its short name. Missing when it has none."""
    if not _SLUG.fullmatch(slug):  # the database cannot even be asked for some of what is typed
        raise Missing("The organisation has no identity provider.")
    return _found(session, Organisation.slug == slug)


def of_organisation(session: Session, organisation: UUID) -> Provider:
    """The provider of an organisation. Missing when it has none."""
    return _found(session, Organisation.id == organisation)


def any_at_all(session: Session) -> bool:
    """Whether anybody signs in by an organisation's provider here."""
    standing = sa.select(IdentityProvider.organisation_id).where(IdentityProvider.ended_at.is_(None))
    return session.scalar(standing.limit(1)) is not None


def slug_of_domain(session: Session, email: str) -> str | None:
    """The short name of the organisation whose provider speaks for an address. It tells nothing of any account."""
    domain = domain_of(email)
    return session.scalar(
        sa.select(Organisation.slug)
        .join(IdentityDomain, IdentityDomain.organisation_id == Organisation.id)
        .join(IdentityProvider, IdentityProvider.organisation_id == Organisation.id)
        .where(
            IdentityDomain.domain == domain,
            IdentityProvider.ended_at.is_(None),
            Organisation.ended_at.is_(None),
        )
    )


def domain_of(email: str) -> str:
    """The domain of an address in its normal form."""
    return email.rpartition("@")[2].lower()


def domains(session: Session, organisation: UUID) -> list[str]:
    query = sa.select(IdentityDomain.domain).where(IdentityDomain.organisation_id == organisation)
    return list(session.scalars(query.order_by(IdentityDomain.domain)))


def _found(session: Session, which: sa.ColumnElement[bool]) -> Provider:
    row = session.execute(
        sa.select(IdentityProvider, Organisation)
        .join(Organisation, Organisation.id == IdentityProvider.organisation_id)
        .where(which, IdentityProvider.ended_at.is_(None), Organisation.ended_at.is_(None))
    ).one_or_none()
    if row is None:
        raise Missing("The organisation has no identity provider.")
    return _provider(*row)


def _provider(row: IdentityProvider, organisation: Organisation) -> Provider:
    return Provider(
        organisation.id, organisation.slug, organisation.name, row.issuer, row.client_id, row.client_secret,
        row.groups_claim, tuple(row.factors),
    )  # fmt: skip


def note(
    session: Session, event: str, organisation: UUID, actor: audit.Actor, **detail: int | str | UUID
) -> None:
    audit.record(
        session,
        event=event,
        subject=f"organisation:{organisation}",
        actor=actor,
        organisation=organisation,
        detail=detail,
    )
