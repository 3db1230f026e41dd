"""What every answer carries, whatever it answers; cookies; and that no parameter leads anywhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest
from werkzeug.test import TestResponse

from app.embedded.state import Endpoints
from app.factory import create_app
from app.web import csrf, guards
from app.web.guards import Guard, guard_of
from app.web.session import cookie_name
from tests.app.web.conftest import PUBLIC_URL, Site, open_site
from tests.architecture.pages import forms_of
from tests.conftest import Database, _copy, _drop
from tests.entering import PASSWORD
from tests.factories import Makes
from tests.populated import Populated, populate

EXACT = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POWERFUL = (
    "camera",
    "geolocation",
    "microphone",
    "payment",
    "usb",
    "serial",
    "hid",
    "midi",
    "display-capture",
)


Walked = tuple[Site, Populated]


@pytest.fixture(scope="module")
def walked(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Walked]:
    """A site with something behind every address, for tests that change nothing of it: one for them all."""
    database = _copy(cluster, template, f"test_{worker_id}_walked")
    opened = open_site(database)
    with opened.registry.sessions.begin() as session:
        filled = populate(Makes(session), opened.registry)
    yield opened, filled
    opened.registry.engine.dispose()
    _drop(cluster, database.name)


@pytest.fixture
def filled(site: Site) -> Populated:
    """A site of one test's own, for what posts good forms."""
    with site.registry.sessions.begin() as session:
        return populate(Makes(session), site.registry)


def cookies(site: Site, filled: Populated) -> dict[Guard, str]:
    """For each guard a cookie that it lets pass."""
    found = {}
    for guard, who in (
        (Guard.RESIDENT, {"contact_id": filled.contact_id}),
        (Guard.STAFF, {"staff": filled.staff(site.registry)}),
    ):
        site.enter(**who)
        kept = site.client.get_cookie("__Host-wardlink")
        assert kept is not None
        found[guard] = f"__Host-wardlink={kept.value}"
        site.client.delete_cookie("__Host-wardlink")
    return found


def check(answer: TestResponse, where: object) -> None:
    """Every header of the envelope, once."""
    names = [name.lower() for name in answer.headers.keys()]  # noqa: SIM118  not a dict
    for name, value in EXACT.items():
        assert answer.headers.get_all(name) == [value], (where, name)
    (policy,) = answer.headers.get_all("Content-Security-Policy")
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'", where
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'", where
    assert rules["form-action"] == rules["style-src"] == rules["connect-src"] == "'self'", where
    assert re.fullmatch(r"'self'( 'nonce-[\w-]{20,}')?", rules["script-src"]), where
    assert "unsafe" not in policy
    (features,) = answer.headers.get_all("Permissions-Policy")
    assert {f"{name}=()" for name in POWERFUL} <= set(features.split(", ")), where
    assert all(feature.endswith("=()") for feature in features.split(", "))
    (kept,) = answer.headers.get_all("Cache-Control")
    public = kept.startswith("public, max-age=")
    assert kept == "no-store" or public, (where, kept)
    assert not public or str(where).find("/static/") >= 0 or "feed" in str(where), where
    assert len(names) - names.count("set-cookie") == len(set(names) - {"set-cookie"}), where


def test_every_route_and_every_kind_of_answer_carries_the_headers(walked: Walked) -> None:
    site, filled = walked
    app = site.client.application
    client = app.test_client(use_cookies=False)
    carried = cookies(site, filled)
    statuses: set[int] = set()
    walked = set()
    for rule in app.url_map.iter_rules():
        head = {"Cookie": carried[guard]} if (guard := guard_of(app, rule.endpoint)) in carried else {}
        for path in filled.taking.get(rule.endpoint, ["/static/wardlink.css", "/static/nothing.css"]):
            for method in ("GET", "HEAD", "OPTIONS", "POST"):
                for sent in (head, {}) if head else ({},):
                    with client.open(path, method=method, headers=sent) as answer:
                        check(answer, (method, path))
                        statuses.add(answer.status_code)
        walked.add(rule.endpoint)
    assert walked == {rule.endpoint for rule in app.url_map.iter_rules()}
    for path, more in (
        ("/nowhere", {}), ("/ward//x", {}), ("/static/../x", {}), ("/hooks/nowhere", {}), ("/%00", {}),
        ("/staff/sign-in", {"method": "POST", "data": {"x": "y" * 70_000}}),
        ("/static/wardlink.css", {"headers": {"Range": "bytes=0-3"}}),
        ("/", {"method": "BREW"}),
    ):  # fmt: skip
        with client.open(path, **more) as answer:
            check(answer, path)
            statuses.add(answer.status_code)
    assert {200, 302, 400, 403, 404, 405, 413} <= statuses


def test_what_breaks_or_waits_for_the_database_carries_them_too(database: Database) -> None:
    site = open_site(database, DATABASE_URL="postgresql+psycopg://nobody:x@127.0.0.1:1/none")
    app = create_app(site.registry)

    @app.get("/breaks")
    @guards.anyone
    def breaks() -> str:
        raise RuntimeError

    try:
        client = app.test_client()
        for path, status in (("/breaks", 500), ("/postcode?postcode=SW1A1AA", 503)):
            answer = client.get(path)
            assert answer.status_code == status
            check(answer, path)
    finally:
        site.registry.engine.dispose()


def test_hsts_is_promised_only_by_a_site_with_https(database: Database) -> None:
    site = open_site(database, PUBLIC_URL="http://127.0.0.1:8000")
    try:
        assert "Strict-Transport-Security" not in site.client.get("/").headers
    finally:
        site.registry.engine.dispose()


def test_the_cookie_is_host_bound_secure_and_closed_to_scripts_and_other_sites(walked: Walked) -> None:
    site, filled = walked
    answer = site.submit("/staff/sign-in", {"email": filled.officer_email, "password": PASSWORD})
    (set_,) = answer.headers.get_all("Set-Cookie")
    name, *attributes = [part.strip() for part in set_.split(";")]
    assert re.fullmatch(r"__Host-wardlink=[\w-]{43}", name)
    assert set(attributes) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}
    site.enter(staff=filled.staff(site.registry))
    answer = site.submit("/staff/sign-out", page="/staff/account")
    (gone,) = answer.headers.get_all("Set-Cookie")
    assert gone.startswith("__Host-wardlink=;")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=0"} <= {
        p.strip() for p in gone.split(";")
    }


def test_nobody_who_only_looks_gets_a_cookie(walked: Walked) -> None:
    site, filled = walked
    client = site.client.application.test_client(use_cookies=False)
    for endpoint, paths in filled.paths.items():
        for path in paths:
            assert "Set-Cookie" not in client.get(path).headers, endpoint


# -- open redirects
ELSEWHERE = (
    "https://evil.example", "http://evil.example/x", "//evil.example", "///evil.example", "/\\evil.example",
    "\\\\evil.example", "\\/evil.example", "/%5cevil.example", "https:evil.example", "https:/evil.example",
    "javascript:alert(1)", "data:text/html,evil", " //evil.example", "\t//evil.example", "/\t/evil.example",
    "/%09/evil.example", "%0d%0aLocation:%20https://evil.example", "\r\nLocation: https://evil.example",
    "https://wardlink.example@evil.example", "https://wardlink.example.evil.example", "//evil.example/%2e%2e",
    "/.evil.example", "https://evil.example/https://wardlink.example", "\u2028//evil.example",
)  # fmt: skip
NAMES = (
    "back", "next", "url", "to", "return", "return_to", "returnTo", "redirect", "redirect_uri", "continue", "dest",
    "destination", "target", "r", "u", "goto", "referer", "RelayState", "state", "after", "before", "finish", "done",
)  # fmt: skip


def ours(answer: TestResponse, where: object) -> None:
    """An answer leads, if anywhere, to a path of this site; and does not repeat whose site was asked for."""
    for name in ("Location", "Refresh", "Content-Location", "Link"):
        for place in answer.headers.get_all(name):
            parts = urlsplit(place)
            at_home = not parts.scheme and not parts.netloc
            assert at_home or f"{parts.scheme}://{parts.netloc}" == PUBLIC_URL, (where, place)
            assert re.match(r"/(?![/\\])", parts.path), (where, place)
            assert not re.search(r"[\s\\]", place), (where, place)
    assert not any("evil.example" in value and name != "Location" for name, value in answer.headers), where


def walk(site: Site, filled: Populated) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(Endpoint, path, headers of somebody who may) of every address."""
    app = site.client.application
    carried = cookies(site, filled)
    for rule in app.url_map.iter_rules():
        guard = guard_of(app, rule.endpoint)
        for path in filled.taking.get(rule.endpoint, ["/static/wardlink.css"])[:1]:
            yield rule.endpoint, path, {"Cookie": carried[guard]} if guard in carried else {}


FEW = (*ELSEWHERE[:1], *ELSEWHERE[2:4])
ALL = [pytest.param(FEW, id="few"), pytest.param(ELSEWHERE, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("values", ALL)
def test_no_parameter_of_any_address_leads_to_another_site(walked: Walked, values: tuple[str, ...]) -> None:
    site, filled = walked
    client = site.client.application.test_client(use_cookies=False)
    for endpoint, path, head in walk(site, filled):
        for value in values:
            query = "&".join(f"{name}={quote(value)}" for name in NAMES)
            for sent in (head, {}) if head else ({},):
                with client.get(f"{path}{'&' if '?' in path else '?'}{query}", headers=sent) as answer:
                    ours(answer, (endpoint, value))
                    assert f'href="{value}"' not in answer.text, (endpoint, value)


@pytest.mark.slow
def test_no_field_of_any_form_leads_to_another_site(site: Site, filled: Populated) -> None:
    app = site.client.application
    client = app.test_client(use_cookies=False)
    led = 0
    for endpoint, path, head in walk(site, filled):
        if endpoint.startswith(("twilio.", "sendgrid.")) or not app.url_map.bind("x").test(
            path.partition("?")[0], method="POST"
        ):
            continue
        with app.test_request_context(headers=head):
            token, name = csrf.token(), cookie_name()
        assert name == "__Host-wardlink"
        shown = [f for f in forms_of(client.get(path, headers=head).text) if f.method == "post"]
        good = {n: v[0] for f in shown for n, v in f.values().items()} | filled.typed.get(endpoint, {})
        for value in ELSEWHERE:
            form = dict.fromkeys(NAMES, value) | good | {csrf.FIELD: token}
            answer = client.post(path, data=form, headers=head)
            ours(answer, (endpoint, value))
            led += answer.status_code in {302, 303}
    assert led > 20


def test_no_host_header_is_believed_or_repeated(walked: Walked) -> None:
    site, filled = walked
    client = site.client.application.test_client(use_cookies=False)
    for endpoint, path, head in walk(site, filled):
        for hostile in (
            {"Host": "evil.example"},
            {"Host": "evil.example:443", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"},
            {
                "Host": "wardlink.example",
                "Forwarded": "host=evil.example",
                "X-Original-URL": "//evil.example",
            },
        ):
            with client.get(path, headers=head | hostile) as answer:
                assert answer.status_code < 500
                ours(answer, endpoint)
                assert "evil.example" not in answer.text + str(answer.headers), (endpoint, hostile)


def test_a_path_with_two_slashes_is_no_redirect(still_site: Site) -> None:
    for path in (
        "//evil.example",
        "//evil.example/..",
        "/staff//evil.example",
        "/%2f/evil.example",
        "/\\evil.example",
    ):
        answer = still_site.client.get(path)
        assert answer.status_code in {404, 308}
        ours(answer, path)
