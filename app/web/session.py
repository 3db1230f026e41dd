"""The visitor of a request: one cookie, only for who signed in, and the row that it opens."""

from __future__ import annotations

from uuid import UUID

from flask import Response, g, request
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit.record import Actor, ActorKind
from app.db import utc_now
from app.services import sessions
from app.services.sessions import Visitor
from app.web import context, origin

_PLAIN, _SECURE = "wardlink", "__Host-wardlink"


def cookie_name() -> str:
    """With https the browser itself guards the cookie by its name."""
    return _SECURE if secure() else _PLAIN


def secure() -> bool:
    return context.settings().public_url.startswith("https://")


def visitor() -> Visitor | None:
    """Who this request comes from, looked up once. Without a cookie nothing is asked."""
    if "visitor" not in g:
        token = request.cookies.get(cookie_name(), "")
        g.visitor = None
        if token:
            with context.transaction() as session:
                g.visitor = sessions.find(session, token, now=utc_now())
    found: Visitor | None = g.visitor
    return found


def token() -> str:
    """What the visitor's cookie holds: the register's gate judges by it, and by nothing that we say."""
    return request.cookies.get(cookie_name(), "")


def staff_id() -> UUID:
    """The id of the officer who asks. Only behind ``guards.staff``."""
    found = visitor()
    assert found is not None and found.staff_id is not None
    return found.staff_id


def who() -> Who:
    """The officer who asks, with the roles they hold now. Only behind ``guards.staff``."""
    if "who" not in g:
        with context.transaction() as session:
            g.who = access.of(session, staff_id(), now=utc_now())
    found: Who = g.who
    return found


def fresh() -> bool:
    """Whether the officer showed a factor a moment ago."""
    found = visitor()
    return found is not None and access.fresh(found.shown_at, now=utc_now())


def actor() -> Actor:
    """Who acts, for the record."""
    found = visitor()
    where = origin.network()
    if found is not None and found.staff_id is not None:
        return Actor(ActorKind.STAFF, id=str(found.staff_id), origin=where)
    if found is not None and found.contact is not None:
        return Actor(ActorKind.RESIDENT, id=str(found.contact.id), origin=where)
    return Actor(ActorKind.RESIDENT, origin=where)


def keep(response: Response, token: str) -> None:
    """Give the browser its session."""
    response.set_cookie(cookie_name(), token, httponly=True, secure=secure(), samesite="Lax", path="/")


def replace(session: Session) -> None:
    """Another session takes the place of the visitor's: it must not live on without its cookie."""
    found = visitor()
    if found is not None:
        sessions.end(session, found.digest)


def end(session: Session, response: Response) -> None:
    """End the visitor's session, here and in the browser."""
    found = visitor()
    if found is not None:
        sessions.end(session, found.digest)
    response.delete_cookie(cookie_name(), httponly=True, secure=secure(), samesite="Lax", path="/")
    g.visitor = None
