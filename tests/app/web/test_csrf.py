"""A form is taken only from our own page, of today, for the visitor it was made for."""

from __future__ import annotations

import re
import time

import pytest

from app.factory import create_app
from app.services import sessions
from app.web import csrf, guards
from tests.app.web.conftest import open_site
from tests.factories import Makes


@pytest.fixture
def form(database):
    """A page with a form, whose POST says what it took."""
    site = open_site(database)
    app = create_app(site.registry)

    @app.route("/form", methods=["GET", "POST"])
    @guards.anyone
    def form() -> str:
        return str(csrf.field())

    site.client = app.test_client()
    yield site
    site.registry.engine.dispose()


def token(site) -> str:
    return re.search(r'value="([^"]+)"', site.client.get("/form").text)[1]


def test_the_forms_own_token_is_taken_more_than_once(form):
    given = token(form)
    for _ in range(2):
        assert form.client.post("/form", data={csrf.FIELD: given}).status_code == 200


@pytest.mark.parametrize(
    "given",
    ["", "x", "00000000." + "0" * 32, "\x00", "é" * 41, "f" * 8 + "." + "f" * 32, "0x000000." + "a" * 32],
)
def test_without_a_token_or_with_a_made_up_one_nothing_is_done(form, given):
    answer = form.client.post("/form", data={csrf.FIELD: given})
    assert answer.status_code == 400
    assert "Go back" in answer.text
    assert form.client.post("/form").status_code == 400
    assert form.client.post("/form", json={csrf.FIELD: token(form)}).status_code == 400


def test_a_page_of_yesterday_is_too_old(form, monkeypatch):
    given = token(form)
    now = time.time()
    for later, status in ((csrf.LIFETIME - 5, 200), (csrf.LIFETIME + 5, 400), (-3_600, 400)):
        monkeypatch.setattr(csrf.time, "time", lambda later=later: now + later)
        assert form.client.post("/form", data={csrf.FIELD: given}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://wardlink.example"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://wardlink.example.evil.example"}, 403),
        ({"Origin": "null"}, 200),  # sandboxed or referrer-less pages of ours: the token decides
    ],
)
def test_a_form_on_another_site_is_refused_even_with_a_token(form, headers, status):
    assert form.client.post("/form", data={csrf.FIELD: token(form)}, headers=headers).status_code == status


def test_a_token_serves_the_session_it_was_made_for_and_no_other(form, committed):
    site = open_site(committed)
    app = create_app(site.registry)

    @app.route("/form", methods=["GET", "POST"])
    @guards.anyone
    def page() -> str:
        return str(csrf.field())

    try:
        with site.registry.sessions.begin() as session:
            contact = Makes(session).contact().id
        site.client = app.test_client()
        nobodys = token(site)
        site.enter(contact_id=contact)
        mine = token(site)
        assert site.client.post("/form", data={csrf.FIELD: nobodys}).status_code == 400
        assert site.client.post("/form", data={csrf.FIELD: mine}).status_code == 200
        site.enter(contact_id=contact)
        assert site.client.post("/form", data={csrf.FIELD: mine}).status_code == 400
        with site.registry.sessions.begin() as session:
            sessions.end_all(session, contact_id=contact)
        assert site.client.post("/form", data={csrf.FIELD: token(site)}).status_code == 200
    finally:
        site.registry.engine.dispose()
