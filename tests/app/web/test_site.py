"""What stands around every page: headers, errors, health, and the look of the pages."""

from __future__ import annotations

import gzip
import re
from html.parser import HTMLParser

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from app.factory import create_app
from app.web import assets, envelope, guards, origin
from tests.app.web.conftest import open_site

PAGES = ["/", "/postcode?postcode=x", "/nowhere", "/s/x"]


@pytest.mark.parametrize("path", [*PAGES, "/health/live", "/static/wardlink.css"])
def test_every_answer_carries_the_security_headers(still_site, path):
    with still_site.client.get(path) as answer:
        assert answer.status_code
        found = re.search(r'<script nonce="([^"]+)">', answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert policy == envelope.content_policy(found and found[1])
    assert (found is None) == (answer.mimetype != "text/html")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_the_nonce_of_a_page_is_never_used_again(still_site):
    policies = {still_site.client.get("/").headers["Content-Security-Policy"] for _ in range(20)}
    assert len(policies) == 20


def test_a_request_id_is_ours_never_the_callers(still_site):
    answer = still_site.client.get("/", headers={"X-Request-Id": "forged"})
    assert answer.headers["X-Request-Id"] != "forged"


class Outline(HTMLParser):
    """What a page holds, as far as a person with a screen reader depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_language_title_one_heading_labels_and_nothing_inline(still_site, path):
    outline = Outline()
    page = still_site.client.get(path).text
    outline.feed(page)
    tags = outline.tags
    assert next(a["lang"] for tag, a in tags if tag == "html") == "en"
    assert re.search("<title>[^<]+ – Wardlink</title>", page)
    assert [tag for tag, _ in tags].count("h1") == 1
    assert next(a["href"] for tag, a in tags if tag == "a") == "#main-content"
    labels = {a.get("for") for tag, a in tags if tag == "label"}
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in tags:
        assert tag not in {"style", "iframe"}
        if tag == "script":  # the one inline script of the components' template, and files of ours
            assert attributes.get("nonce") or (attributes["src"] or "").startswith("/static/")
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        if tag == "input" and attributes.get("type") != "hidden":
            assert attributes["id"] in labels
            assert set((attributes.get("aria-describedby") or "").split()) <= set(ids)


def colours(site) -> dict[str, str]:
    with site.client.get("/static/theme.css") as answer:
        css = answer.text
    found = dict(re.findall(r"--(?:govuk|wl)-([a-z-]+): (#[0-9a-f]{6});", css))
    return {"white": "#ffffff", "ink": "#0b0c0c", **found}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("on-brand", "brand-colour"),
        ("white", "success-colour"),
        *((front, back) for front in ("link-colour", "link-hover-colour", "ink")
          for back in ("white", "surface-background-colour", "template-background-colour")),
    ],
)  # fmt: skip
def test_colours_of_the_theme_stand_out_enough_to_be_read(still_site, front, back):
    found = colours(still_site)
    light, dark = sorted((luminance(found[front]), luminance(found[back])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_errors_are_pages_in_plain_english_with_the_right_status(still_site):
    for answer, status, words in (
        (still_site.client.get("/nowhere"), 404, "Page not found"),
        (still_site.client.post("/"), 405, "does not do that"),
        (still_site.client.get("/ward//E05013991"), 404, "Page not found"),
    ):
        assert answer.status_code == status
        assert words in answer.text
        assert answer.mimetype == "text/html"


def test_a_page_that_fails_says_sorry_and_gives_a_number_and_the_log_holds_no_values(database):
    site = open_site(database)
    app = create_app(site.registry)

    @app.get("/fails")
    @guards.anyone
    def fails() -> str:
        with site.registry.sessions() as session:
            session.execute(sa.text("SELECT 1 / :secret"), {"secret": "Mrs Smith"})
        return ""

    try:
        with capture_logs() as lines:
            answer = app.test_client().get("/fails")
    finally:
        site.registry.engine.dispose()
    assert answer.status_code == 500
    assert "Sorry" in answer.text
    assert answer.headers["X-Request-Id"] in answer.text
    assert "Traceback" not in answer.text
    assert "Smith" not in answer.text + str(lines)
    assert "request_failed" in {line["event"] for line in lines}


def test_without_a_database_the_site_says_so_and_stays(database):
    site = open_site(database, DATABASE_URL="postgresql+psycopg://nobody:x@127.0.0.1:1/none")
    answer = site.client.get("/postcode?postcode=SW1A1AA")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "not available" in answer.text
    assert site.twilio("/hooks/twilio/inbound", {"Body": "stop"}).status_code == 503
    assert site.client.get("/health/live").status_code == 200
    ready = site.client.get("/health/ready")
    assert (ready.status_code, ready.get_json()["database"]) == (503, "away")


def test_a_site_with_its_servers_is_ready(still_site):
    answer = still_site.client.get("/health/ready")
    assert answer.status_code == 200
    found = answer.get_json()
    assert found == {
        "status": "ok",
        "database": "ok",
        "tables": "ok",
        "scheduler": "ok",
        "queue": "ok",
    }


def test_a_body_that_is_too_large_is_refused(still_site):
    answer = still_site.client.post("/s/x", data={"a": "b" * 100_000})
    assert answer.status_code in {404, 413}


def test_files_are_packed_for_who_takes_that_and_kept_for_good_under_their_version(still_site):
    page = still_site.client.get("/").text
    path = re.search(r'href="(/static/vendor/govuk-frontend.min.css\?v=[0-9a-f]{12})"', page)[1]
    with still_site.client.get(path, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert "immutable" in packed.headers["Cache-Control"]
        unpacked = gzip.decompress(packed.data)
        tag = packed.headers["ETag"]
    for refused in ("identity", "gzip;q=0", ""):
        with still_site.client.get(path, headers={"Accept-Encoding": refused}) as plain:
            assert "Content-Encoding" not in plain.headers
            assert plain.data == unpacked
    with still_site.client.get(path.partition("?")[0]) as unversioned:
        assert "immutable" not in unversioned.headers["Cache-Control"]
    with still_site.client.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": tag}) as known:
        assert (known.status_code, known.data) == (304, b"")
    for path in ("/static/../assets.py", "/static/nothing.css", "/static/vendor/.installed", "/static/"):
        assert still_site.client.get(path).status_code == 404


def test_nothing_of_govuks_own_is_served(still_site):
    with still_site.client.get("/static/vendor/govuk-frontend.min.css") as answer:
        css = answer.text
    for own in ("GDS Transport", "@font-face", "govuk-crest", "/assets/", "url(http", "sourceMappingURL"):
        assert own not in css
    page = still_site.client.get("/").text
    assert "crown" not in page.lower()
    assert "gov.uk" not in page.lower()


def test_a_style_sheet_that_changed_is_not_copied_blindly():
    for changed in ("body{}", f"@font-face{{}} x{{font:{assets.FONT}}}",
                    f"x{{font:{assets.FONT};a:{assets.CREST};b:url(/assets/new.svg)}}"):  # fmt: skip
        with pytest.raises(assets.AssetsError):
            assets.without_govuk(changed)
    assert assets.without_govuk(f"@font-face{{x}}y{{font:{assets.FONT};a:{assets.CREST}}}") == (
        "y{font:var(--wl-font);a:none}"
    )


def test_forwarded_addresses_are_believed_only_of_our_own_proxies(database):
    heard = []
    for proxies in ("0", "1"):
        site = open_site(database, PROXIES=proxies)
        app = create_app(site.registry)

        @app.get("/where")
        @guards.anyone
        def where() -> str:
            return origin.neighbours()

        try:
            client = app.test_client()
            heard.append(client.get("/where", headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}).text)
        finally:
            site.registry.engine.dispose()
    assert heard == ["127.0.0.0/24", "198.51.100.0/24"]
