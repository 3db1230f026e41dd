"""A browser without a screen: pages, links, forms and one visitor's cookies, over plain HTTP.

It does what somebody without JavaScript does: fills in the form that a page shows and sends it.
"""

from __future__ import annotations

import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser

PATIENCE = 30.0
LONGEST_PAGE = 2_000_000


class PageError(RuntimeError):
    """A page was not what the visitor expected; the message says which and how it looked."""


@dataclass(slots=True)
class HtmlForm:
    """A form as its page shows it: what it sends if nobody touches it, and all it could send."""

    action: str
    method: str
    sent: list[tuple[str, str]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[HtmlForm] = []
        self.links: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._form: HtmlForm | None = None
        self._open: tuple[str, str] | None = None  # the tag whose text is collected, and its name or address
        self._text = ""
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {name: value or "" for name, value in attrs}
        if tag in {"script", "style", "svg"}:
            self._hidden += 1
        elif tag == "form":
            self._form = HtmlForm(a.get("action", ""), a.get("method", "get").lower())
            self.forms.append(self._form)
        elif tag == "a":
            self._open, self._text = ("a", a.get("href", "")), ""
        elif tag == "textarea":
            self._open, self._text = ("textarea", a.get("name", "")), ""
        elif tag == "button" and self._form is not None and a.get("name"):
            self._form.names.add(a["name"])
        elif tag == "input" and self._form is not None and a.get("name"):
            self._form.names.add(a["name"])
            kind = a.get("type", "text")
            if kind not in {"checkbox", "radio", "submit"} or "checked" in a:
                self._form.sent.append((a["name"], a.get("value", "on" if kind == "checkbox" else "")))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style", "svg"}:
            self._hidden -= 1
        elif tag == "form":
            self._form = None
        elif self._open is not None and tag == self._open[0]:
            if tag == "a":
                self.links.append((" ".join(self._text.split()), self._open[1]))
            elif self._form is not None:
                self._form.names.add(self._open[1])
                self._form.sent.append((self._open[1], self._text.removeprefix("\n")))
            self._open = None


@dataclass(slots=True)
class Page:
    """One page that was shown."""

    url: str
    status: int
    html: str
    forms: list[HtmlForm]
    links: list[tuple[str, str]]
    words: str

    def says(self, *texts: str) -> Page:
        """The page itself, if it says all of this; PageError otherwise."""
        missing = [text for text in texts if text not in self.words]
        if missing:
            raise PageError(f"{self.url} ({self.status}) does not say {missing[0]!r} but: {self.words[:600]}")
        return self


class Browser:
    """One visitor of the site at ``site``."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.page: Page | None = None
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def open(self, address: str, data: list[tuple[str, str]] | None = None) -> Page:
        """A page by its address, absolute or below the last one, redirects followed."""
        url = urllib.parse.urljoin(self.page.url if self.page else self.site + "/", address)
        if not url.startswith(self.site + "/") and url != self.site:
            raise PageError(f"{address} leads away from the site.")
        body = None if data is None else urllib.parse.urlencode(data).encode()
        request = urllib.request.Request(url, body, {"Accept": "text/html"})  # noqa: S310  our own site
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return self._show(answer.url, answer.status, answer.read(LONGEST_PAGE))
        except urllib.error.HTTPError as error:
            with error:
                return self._show(url, error.code, error.read(LONGEST_PAGE))

    def follow(self, text: str) -> Page:
        """Press the link that reads ``text``."""
        page = self.shown
        target = next((href for words, href in page.links if text in words), None)
        if target is None:
            raise PageError(f"{page.url} has no link {text!r}")
        return self.open(target)

    def send(self, *, to: str = "", **values: str | list[str]) -> Page:
        """Fill in and send the form that takes all of ``values`` (and whose action holds ``to``)."""
        page = self.shown
        for form in page.forms:
            if to in form.action and set(values) <= form.names:
                break
        else:
            raise PageError(f"{page.url} has no form to {to!r} with {', '.join(values)}: {page.words[:600]}")
        pairs = [(name, value) for name, value in form.sent if name not in values]
        for name, value in values.items():
            pairs += [(name, one) for one in ([value] if isinstance(value, str) else value)]
        if form.method == "post":
            return self.open(form.action, pairs)
        return self.open(f"{form.action.partition('?')[0]}?{urllib.parse.urlencode(pairs)}")

    @property
    def shown(self) -> Page:
        """The page that is open; PageError when none is."""
        if self.page is None:
            raise PageError("No page is open.")
        return self.page

    def _show(self, url: str, status: int, raw: bytes) -> Page:
        reader = _Reader()
        html = raw.decode()
        reader.feed(html)
        words = " ".join(" ".join(reader.words).split())
        self.page = Page(url, status, html, reader.forms, reader.links, words)
        if status >= 500:
            raise PageError(f"{url} answered {status}: {words[:300]}")
        return self.page
