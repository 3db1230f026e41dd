"""What a request may bring: each limit, at every kind of address that takes something, answered by a plain page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from flask import Response
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from app.factory import LARGEST_REQUEST
from app.services import receipts
from app.web.guards import Guard, guard_of
from app.web.intake import DEEPEST, MOST_FIELDS, depth
from app.web.officer import compose
from tests.app.web.conftest import FORM, KEY, Site
from tests.architecture.test_guards import some_path
from tests.factories import Makes

MULTIPART = "multipart/form-data; boundary=x"
Send = Callable[..., Response]


def doors(site: Site) -> list[tuple[str, Guard]]:
    """(path, guard) of every address that takes a POST."""
    app = site.client.application
    found = []
    for rule in app.url_map.iter_rules():
        if "POST" in (rule.methods or set()):
            guard = guard_of(app, rule.endpoint)
            assert guard is not None
            found.append((some_path(rule), guard))
    assert {guard for _, guard in found} == set(Guard)
    return found


@pytest.fixture
def send(still_site: Site) -> Send:
    def send(path: str, body: bytes, kind: str, *, length: bool = True, terminated: bool = True) -> Response:
        """A POST as gunicorn hands it on; without ``length`` it came in chunks, or claimed nothing."""
        builder = EnvironBuilder(path, method="POST", content_type=kind, input_stream=io.BytesIO(body))
        environ = builder.get_environ()
        for name in ("CONTENT_LENGTH", "wsgi.input_terminated"):
            environ.pop(name, None)
        if length:
            environ["CONTENT_LENGTH"] = str(len(body))
        if terminated:
            environ["wsgi.input_terminated"] = True
        pieces, status, headers = run_wsgi_app(still_site.client.application, environ, buffered=True)
        return Response(b"".join(pieces), status, headers)

    return send


def plain(answer: Response, path: str, *statuses: int) -> None:
    """A page of ours, or for machines a line of text; nothing that was sent."""
    assert answer.status_code in statuses, (path, answer.status_code)
    if path.startswith("/hooks/"):
        assert answer.mimetype == "text/plain"
        assert answer.get_data(as_text=True).count("\n") == 1
    else:
        assert answer.mimetype == "text/html"
        assert answer.get_data(as_text=True).count("<h1") == 1
    assert "Traceback" not in answer.get_data(as_text=True)


def large(path: str) -> int:
    if path.startswith("/staff/alerts/"):
        return compose.LARGEST_FORM
    return receipts.LONGEST_BODY if path.startswith("/hooks/") else LARGEST_REQUEST


def parts(count: int) -> bytes:
    one = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    return one * count + b"--x--\r\n"


def test_a_body_that_is_too_large_is_refused_at_every_address(still_site: Site, send: Send) -> None:
    for path, _ in doors(still_site):
        plain(send(path, b"a=" + b"x" * large(path), FORM), path, 413)


def test_one_without_a_length_is_read_up_to_the_same_limit(still_site: Site, send: Send) -> None:
    """Chunks: gunicorn says where they end, so they are read like any body, and no further."""
    for path, _ in doors(still_site):
        plain(send(path, b"a=" + b"x" * large(path), FORM, length=False), path, 413)
        small = send(path, b"a=b", FORM, length=False)
        assert small.status_code in {302, 400, 403, 404}, (path, small.status_code)


def test_one_whose_end_nobody_knows_is_not_read_at_all(still_site: Site, send: Send) -> None:
    for path, _ in doors(still_site):
        answer = send(path, b"a=" + b"x" * 5_000_000, FORM, length=False, terminated=False)
        assert answer.status_code in {302, 400, 403, 404}, (path, answer.status_code)


def test_too_many_fields_are_refused_at_every_address(still_site: Site, send: Send) -> None:
    crowd = b"&".join(b"a=" for _ in range(MOST_FIELDS + 1))
    assert len(crowd) < LARGEST_REQUEST
    for path, _ in doors(still_site):
        if path.startswith("/hooks/sendgrid"):  # takes no form, whatever it calls itself
            plain(send(path, crowd, FORM), path, 403)
        else:
            plain(send(path, crowd, FORM), path, 413)


def test_too_many_parts_are_refused_wherever_a_form_is_read(still_site: Site, send: Send) -> None:
    body = parts(1_001)
    assert len(body) < LARGEST_REQUEST
    for path, guard in doors(still_site):
        answer = send(path, body, MULTIPART)
        if guard in {Guard.STAFF, Guard.RESIDENT}:
            assert answer.status_code in {302, 413}, path  # sent to sign in, mostly before anything is read
        elif path.startswith("/hooks/"):
            plain(answer, path, 403, 415)
        else:
            plain(answer, path, 400, 404, 413)


def test_too_many_parts_are_refused_of_whoever_is_signed_in(site: Site) -> None:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        officer, contact = makes.officer(makes.organisation()), makes.contact().id
    for who, guard in (({"staff": officer}, Guard.STAFF), ({"contact_id": contact}, Guard.RESIDENT)):
        site.enter(**who)
        for path, wanted in doors(site):
            if wanted is guard and "close" not in path:
                answer = site.client.post(path, data=parts(1_001), content_type=MULTIPART)
                plain(answer, path, 413, 404)


def test_json_that_is_too_deep_is_refused_before_it_is_read(still_site: Site, send: Send) -> None:
    for path, _ in doors(still_site):
        for deep in (b"[" * 30_000, b'{"a":' * (DEEPEST + 1), b"[" * 100 + b"]" * 100):
            answer = send(path, deep, "application/json")
            plain(answer, path, *((403, 415) if path.startswith("/hooks/") else (400,)))


def test_a_webhook_that_is_genuine_and_deep_is_kept_and_breaks_nothing(site: Site) -> None:
    answer = site.sendgrid(b"[" * 200_000, key=KEY)
    assert answer.status_code == 204
    assert len(site.events()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('[]{}"\\ab', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\k', max_size=4), inner, max_size=3)
    ),
    max_leaves=20,
)


def nested(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(nested, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(nested, value), default=0)
    return 0


@given(JSON, st.booleans())
def test_depth_is_that_of_the_value_whatever_its_texts_hold(value: object, ascii_: bool) -> None:
    assert depth(json.dumps(value, ensure_ascii=ascii_).encode()) == nested(value)


@given(st.binary(max_size=200))
def test_depth_of_what_is_no_json_breaks_nothing(body: bytes) -> None:
    assert 0 <= depth(body) <= len(body)


def test_a_form_as_large_as_allowed_is_read(still_site: Site, send: Send) -> None:
    body = b"a=" + b"x" * (LARGEST_REQUEST - 2)
    assert send("/staff/sign-in", body, FORM).status_code == 400  # for want of a token, not for its length


@pytest.mark.parametrize("host", ["0..0", "a" * 64 + ".example", "x\u0080", "[", ".", "a b", ""])
@pytest.mark.parametrize("path", ["/", "/staff", "/hooks/sendgrid", "/none"])
def test_a_host_that_is_no_host_is_answered_in_words(site: Site, host: str, path: str) -> None:
    answer = site.client.get(path, headers={"Host": host.encode("utf-8").decode("latin-1")})
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text


def test_an_address_cannot_be_made_for_a_host_of_empty_labels(site: Site) -> None:
    answer = site.client.get("/", headers={"Host": "0..0"})
    assert (answer.status_code, answer.mimetype) == (400, "text/plain")
    assert answer.text.startswith("That request could not be read.")
