"""The demo's browser does what a page says: it sends what a form holds, keeps cookies, and says where it sticks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.cli.demo.browser import Browser, PageError
from app.cli.demo.walk import SignIn, link

PAGE = """<!doctype html><title>Form</title><script>var words = "hidden";</script><h1>Ask   a
question</h1><a href="/elsewhere?x=1">Go <b>on</b></a><a href="http://other.example/">Away</a>
<form action="/found" method="get"><input name="postcode" value="UB8"></form>
<form action="/post?keep=1" method="post">
<input type="hidden" name="token" value="a&amp;b"><input type="checkbox" name="topic" value="one" checked>
<input type="checkbox" name="topic" value="two"><input type="radio" name="kind" value="x"><textarea name="body">
As it was</textarea><input name="mail"><button name="step" value="go">Go</button></form>"""


@pytest.fixture
def site() -> Iterator[tuple[Browser, list[tuple[str, str, str, str]]]]:
    """A site that notes (method, path, body, cookie) of each request."""
    heard: list[tuple[str, str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            heard.append((self.command, self.path, body, self.headers.get("Cookie") or ""))
            status = {"/missing": 404, "/broken": 500, "/moved": 303}.get(self.path, 200)
            self.send_response(status)
            if status == 303:
                self.send_header("Location", "/")
            if self.path == "/":
                self.send_header("Set-Cookie", "session=abc; HttpOnly")
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Browser(f"http://127.0.0.1:{server.server_port}"), heard
        server.shutdown()
        thread.join()


def test_words_links_and_cookies_are_a_persons(site):
    browser, heard = site
    page = browser.open("/moved")
    assert (page.status, page.url) == (200, f"{browser.site}/")
    page.says("Ask a question")
    with pytest.raises(PageError, match="does not say 'hidden'"):
        page.says("Ask a question", "hidden")
    browser.follow("Go on")
    assert heard[-1] == ("GET", "/elsewhere?x=1", "", "session=abc")


def test_a_form_sends_what_it_holds_but_for_what_was_filled_in(site):
    browser, heard = site
    browser.open("/")
    browser.send(to="/post", mail="a@b.example", topic=["two"])
    assert heard[-1][:3] == (
        "POST", "/post?keep=1", "token=a%26b&body=As+it+was&mail=a%40b.example&topic=two",
    )  # fmt: skip
    browser.open("/")
    browser.send(step="go", kind="x")
    assert heard[-1][2] == "token=a%26b&topic=one&body=As+it+was&mail=&step=go&kind=x"
    browser.open("/")
    browser.send(postcode="N1 1AA")
    assert heard[-1][:2] == ("GET", "/found?postcode=N1+1AA")


def test_it_says_where_it_sticks_and_stays_on_the_site(site):
    browser, _ = site
    with pytest.raises(PageError, match="No page is open"):
        browser.follow("Go on")
    assert browser.open("/missing").status == 404
    for step in (
        lambda: browser.open("/broken"),
        lambda: browser.follow("Nothing"),
        lambda: browser.follow("Away"),
        lambda: browser.send(nothing="x"),
        lambda: browser.open(f"{browser.site}0/"),
    ):
        with pytest.raises(PageError):
            step()


def test_a_link_is_found_in_a_message_and_a_sign_in_is_kept_for_its_owner_alone(tmp_path):
    assert link("See http://127.0.0.1:1/r/1.ab, or call 101", "/r/") == "/r/1.ab,"
    assert link("<http://127.0.0.1:1/r/1.ab>", "/r/") == "/r/1.ab"
    kept = tmp_path / "officer.json"
    assert SignIn.read(kept) is None
    sign_in = SignIn("officer@police.example", "four-words", "JBSWY3DPEHPK3PXP" * 2)
    sign_in.keep(kept)
    assert SignIn.read(kept) == sign_in
    assert kept.stat().st_mode & 0o077 == 0
    assert len(sign_in.code()) == 6
