"""Who may ask for a page: every view says it, and one that does not is not served."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import structlog
from flask import Flask, abort, current_app, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app import access
from app.permissions import TABLE, Permission
from app.web import csrf, errors, session

log = structlog.get_logger(__name__)
View = TypeVar("View", bound=Callable[..., Any])
# What officers write at length, and how a page calls it.
WRITTEN = {
    "headline": "Headline",
    "body": "What you wrote",
    "what_to_do": "What people should do",
    "how_to_tell": "How to tell you",
    "sms_text": "Text message",
    "why": "Your reason",
    "what": "What happened",
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard(StrEnum):
    """What a view asks of whoever calls it."""

    ANYONE = "anyone"  # a POST carries a form token
    SIGNED = "signed"  # the request is its own authority: a signed link, a provider's signature
    RESIDENT = "resident"  # the holder of an address, by code or fresh link
    STAFF = "staff"  # signed in with both factors


def _mark(guard: Guard) -> Callable[[View], View]:
    def mark(view: View) -> View:
        view.guard = guard  # type: ignore[attr-defined]
        return view

    return mark


anyone = _mark(Guard.ANYONE)
signed = _mark(Guard.SIGNED)
resident = _mark(Guard.RESIDENT)


def staff(permission: Permission) -> Callable[[View], View]:
    """Staff who may do this somewhere. Whether here, ``access.row`` judges for each thing."""

    def mark(view: View) -> View:
        view.permission = permission  # type: ignore[attr-defined]
        return _mark(Guard.STAFF)(view)

    return mark


def permission_of(app: Flask, endpoint: str) -> Permission | None:
    """What a view for staff asks for."""
    found: Permission | None = getattr(app.view_functions.get(endpoint), "permission", None)
    return found


def guard_of(app: Flask, endpoint: str) -> Guard | None:
    """The guard of a view; None when it has none, and so is not served."""
    found: Guard | None = getattr(app.view_functions.get(endpoint), "guard", None)
    return found


def install(app: Flask) -> None:
    """Ask before every view of ``app``."""
    app.before_request(_ask)


def _ask() -> Response | None:
    if request.endpoint is None:
        return None  # no such page: the routing's own error follows
    guard = guard_of(current_app, request.endpoint)
    if guard is None:
        log.error("view_unguarded", endpoint=request.endpoint)
        abort(404)
    who = session.visitor() if guard in {Guard.RESIDENT, Guard.STAFF} else None
    if guard is Guard.RESIDENT and (who is None or who.contact is None):
        return redirect(url_for("manage.ask", to=_home(request.blueprint)))
    if guard is Guard.STAFF and (who is None or who.staff_id is None):
        return _signed_out() or redirect(url_for("sign_in.sign_in"))
    permission = permission_of(current_app, request.endpoint)
    if guard is Guard.STAFF and (permission is None or not access.may(session.who(), permission)):
        abort(404)
    if request.method not in SAFE and guard is not Guard.SIGNED:
        try:
            csrf.check()
        except csrf.CsrfError as error:
            log.info("form_refused", code=error.code)
            return _refuse(error)
    if permission is not None and TABLE[permission].step_up and not session.fresh():
        return _step_up()
    return None


def _home(blueprint: str | None) -> str | None:
    """Where a resident goes once they are signed in, if not to the page of their alerts."""
    return "cameras" if blueprint in {"my_cameras", "my_camera"} else None


def _step_up() -> Response:
    """To the page that asks for a factor. A form goes along (307), so that nothing typed is lost: see there."""
    back = request.full_path if request.query_string else request.path
    return redirect(url_for("step_up.ask", back=back), 303 if request.method in SAFE else 307)


def _signed_out() -> Response | None:
    """A session ended while somebody wrote: nothing is done, and what they wrote is given back to them."""
    if request.method in SAFE or csrf.from_another_site():
        return None
    typed = {name: text for name in WRITTEN if (text := request.form.get(name, "").strip())}
    if not typed:
        return None
    return make_response(render_template("signed_out.html", typed=typed, names=WRITTEN), 403)


def _refuse(error: csrf.CsrfError) -> Response:
    if error.code == "another-site":
        return errors.page(403)
    words = "Nothing was changed or sent. Go back, load the page again and send the form once more."
    return errors.page(400, "This page was open for too long", words)
