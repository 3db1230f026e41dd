"""A site on a database of the test's own, with webhooks that the tests can sign for."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask.testing import FlaskClient
from twilio.request_validator import RequestValidator
from werkzeug.test import TestResponse

from app.db import utc_now
from app.factory import create_app
from app.registry import Registry
from app.services import sessions
from tests.conftest import Database

TOKEN = "the token of the tests"
PUBLIC_URL = "https://wardlink.example"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC_KEY = base64.b64encode(
    KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()
FORM = "application/x-www-form-urlencoded"


@dataclass
class Site:
    """The app's test client, its registry, and callers that sign as the providers do."""

    client: FlaskClient
    registry: Registry

    def twilio(
        self,
        path: str,
        form: dict[str, str],
        *,
        token: str = TOKEN,
        fragment: str = "",
        public: str = PUBLIC_URL,
    ) -> TestResponse:
        """A call of Twilio's, signed by Twilio's own library."""
        signature = RequestValidator(token).compute_signature(public + path + fragment, form)
        return self.client.post(
            path, data=urlencode(form), content_type=FORM, headers={"X-Twilio-Signature": signature}
        )

    def sendgrid(
        self, body: bytes, *, key: ec.EllipticCurvePrivateKey = KEY, stamp: str = "1700000000"
    ) -> TestResponse:
        """A call of SendGrid's, signed as its documentation says."""
        signature = base64.b64encode(key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
        return self.client.post(
            "/hooks/sendgrid/events",
            data=body,
            content_type="application/json",
            headers={
                "X-Twilio-Email-Event-Webhook-Signature": signature,
                "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
            },
        )

    def fields(self, page: str) -> dict[str, str]:
        """The hidden fields of a page's last form that has a token: what a browser would send along."""
        forms = [f for f in re.findall(r"<form\b.*?</form>", page, re.DOTALL) if 'name="form_token"' in f]
        assert forms, "the page has no form with a token"
        hidden = re.findall(r'<input[^>]*type="hidden"[^>]*>', forms[-1])
        pairs = ((_attribute(tag, "name"), _attribute(tag, "value")) for tag in hidden)
        return {name: value for name, value in pairs if name}

    def submit(
        self, path: str, data: Mapping[str, object] | None = None, *, page: str | None = None, **more: object
    ) -> TestResponse:
        """Fill in the form of a page and post it to ``path``, as a browser does. ``page``: where the form stands."""
        shown = self.client.get(page or path)
        assert shown.status_code == 200, (page or path, shown.status_code, shown.headers.get("Location"))
        return self.client.post(path, data={**self.fields(shown.text), **(data or {})}, **more)  # type: ignore[arg-type]

    def enter(self, **who: object) -> None:
        """A browser that is signed in: ``staff=`` a Staff row, or ``contact_id=``."""
        with self.registry.sessions.begin() as session:
            token = sessions.begin(session, now=utc_now(), **who)  # type: ignore[arg-type]
        secure = self.registry.settings.public_url.startswith("https")
        self.client.set_cookie("__Host-wardlink" if secure else "wardlink", token, secure=secure)

    def events(self) -> list[tuple[str, str]]:
        """The raw events that are kept: (source, body)."""
        with self.registry.sessions() as session:
            rows = session.execute(sa.text("SELECT source, body FROM raw_events ORDER BY id"))
            return [(source, body) for source, body in rows]


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


def open_site(database: Database, **changes: str) -> Site:
    settings = {"TWILIO_AUTH_TOKEN": TOKEN, "SENDGRID_WEBHOOK_KEY": PUBLIC_KEY, "PUBLIC_URL": PUBLIC_URL}
    registry = database.open(**(settings | changes))
    return Site(create_app(registry).test_client(), registry)


@pytest.fixture
def site(committed: Database) -> Iterator[Site]:
    """A site with nothing in its database."""
    opened = open_site(committed)
    yield opened
    opened.registry.engine.dispose()


@pytest.fixture(scope="session")
def still_site(database: Database) -> Iterator[Site]:
    """A site for tests that only look: one for the whole run."""
    opened = open_site(database)
    yield opened
    opened.registry.engine.dispose()
