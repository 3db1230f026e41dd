"""Two people use the site as a browser would, page by page: somebody who signs up, and an officer.

What they type is checked by what the pages say back, and by what arrives in the sandbox's inbox.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyotp

from app.cli.demo.browser import Browser, Page
from app.cli.stack import SandboxHandle, wait_until

HEADLINE = "Did you see who took the bicycles from the station?"
KNOWN = "I saw a white van at the station at about 4."
ANSWER = "Thank you. Could you read any part of its number plate?"
_CODE = re.compile(r"\b([0-9]{6})\b")


@dataclass(frozen=True, slots=True)
class SignIn:
    """How the demo's officer gets in. Kept below the demo's folder, for it is nobody's."""

    email: str
    password: str
    secret: str

    def code(self) -> str:
        return pyotp.TOTP(self.secret).now()

    @classmethod
    def read(cls, path: Path) -> SignIn | None:
        return cls(**json.loads(path.read_text())) if path.exists() else None

    def keep(self, path: Path) -> None:
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))


class Inbox:
    """What arrives at one address of the sandbox: a message is only ever read once."""

    def __init__(self, sandbox: SandboxHandle, address: str) -> None:
        self._sandbox, self._address = sandbox, address
        self._seen = {self._key(m) for m in self._all()}

    def _all(self) -> list[dict[str, Any]]:
        return [m for m in self._sandbox.inbox(self._address) if m["to"] == self._address]

    @staticmethod
    def _key(message: dict[str, Any]) -> tuple[float, str]:
        return message["at"], message["text"]

    def next(self, holding: str = "") -> str:
        """The next message's text that holds these words; waits for it."""
        found: list[dict[str, Any]] = []

        def arrived() -> bool:
            found[:] = [m for m in self._all() if self._key(m) not in self._seen and holding in m["text"]]
            return bool(found)

        wait_until(arrived, what="a message in the sandbox's inbox")
        self._seen.add(self._key(found[-1]))
        return str(found[-1]["text"])

    def code(self) -> str:
        """The code in the next message."""
        match = _CODE.search(self.next("code is"))
        assert match is not None
        return match[1]


def link(text: str, path: str) -> str:
    """The link to ``path`` that stands in a message."""
    match = re.search(rf"https?://[^\s/]+({re.escape(path)}[^\s<>]+)", text)
    assert match is not None, f"no link to {path}"
    return match[1]


@dataclass(slots=True)
class Resident:
    """Somebody with an e-mail address and a mobile, both made up for this run."""

    site: str
    sandbox: SandboxHandle
    email: str
    mobile: str
    mails: Inbox
    texts: Inbox

    @classmethod
    def new(cls, site: str, sandbox: SandboxHandle) -> Resident:
        # A new address each time: codes to one address are rationed.
        email = f"amina.{secrets.token_hex(4)}@people.example"
        mobile = f"+447700900{100 + secrets.randbelow(900)}"
        return cls(site, sandbox, email, mobile, Inbox(sandbox, email), Inbox(sandbox, mobile))

    def sign_up(self, postcode: str, ward: str) -> None:
        """Postcode, ward, topics, addresses, and a code from each."""
        browser = Browser(self.site)
        browser.open("/").says("postcode")
        browser.send(postcode=postcode).says(f"{ward} ward", "Your local team")
        browser.follow("Get alerts for this ward")
        browser.send(topic=["incidents and appeals", "prevention"])
        page = browser.send(email=self.email, mobile=self.mobile, name="Amina")
        for inbox in (self.mails, self.texts):
            page.says("code")
            page = browser.send(code=inbox.code())
        page.says("You are signed up")

    def reply(self) -> None:
        """The link in the appeal's e-mail: one page, no sign-in."""
        browser = Browser(self.site)
        browser.open(link(self.mails.next(HEADLINE), "/r/")).says(HEADLINE, "999")
        browser.send(body=KNOWN, name="Amina").says("Thank you", "999")

    def text_back(self) -> None:
        """An answer by text to the number that the appeal came from."""
        appeal = self.texts.next("bicycles")
        ours = next(m["sender"] for m in self.sandbox.inbox(self.mobile) if m["text"] == appeal)
        self.sandbox.text(self.mobile, ours, "It had a ladder on the roof")
        self.texts.next("999")

    def leave(self) -> None:
        """One's own page by a code, for each address; then everything ends."""
        for address, inbox in ((self.email, self.mails), (self.mobile, self.texts)):
            browser = Browser(self.site)
            browser.open("/manage")
            browser.send(address=address)
            browser.send(code=inbox.code())
            browser.follow("Leave everything")
            browser.send().says("You have left")


@dataclass(slots=True)
class Officer:
    """An officer of the demo's team."""

    site: str
    sandbox: SandboxHandle
    kept: Path

    def enter(self, invite: Callable[[str], object]) -> tuple[SignIn, Browser]:
        """Sign in as who enrolled in an earlier demonstration, or accept an invitation.

        ``invite`` sends one to an address.
        """
        browser = Browser(self.site)
        known = SignIn.read(self.kept)
        if known is None:
            return self._enrol(browser, invite), browser
        browser.open("/staff")
        browser.send(email=known.email, password=known.password).says("Code from your app")
        browser.send(code=known.code()).says("Write an alert")
        return known, browser

    def _enrol(self, browser: Browser, invite: Callable[[str], object]) -> SignIn:
        """A password, then the second factor."""
        email = f"officer.{secrets.token_hex(3)}@police.example"
        inbox = Inbox(self.sandbox, email)
        invite(email)
        browser.open(link(inbox.next("/staff/invitation/"), "/staff/invitation/"))
        password = "-".join(secrets.choice(_WORDS) for _ in range(4))
        page = browser.send(password=password).says("Connect an app")
        match = re.search(r'class="wl-key">([A-Z2-7 ]+)<', page.html)
        assert match is not None
        sign_in = SignIn(email, password, match[1].replace(" ", ""))
        browser.send(code=sign_in.code(), step="code").says("recovery codes")
        browser.open("/staff").says("Write an alert")
        sign_in.keep(self.kept)
        return sign_in

    def send_appeal(self, browser: Browser, ward: str) -> tuple[str, Page]:
        """Write, look at it, send it, and watch it to the last message: its reference, and the figures."""
        browser.open("/staff").says("Write an alert")
        browser.follow("Write an alert")
        browser.send(
            kind="appeal",
            urgency="routine",
            topic="incidents and appeals",
            headline=HEADLINE,
            body="On Tuesday between 3 and 5 in the afternoon, six bicycles were taken from the racks.",
            what_to_do="Lock both wheels, and the frame to the rack.",
            how_to_tell="Or call 101 and say **CAD 4120**.",
            sms_text="Six bicycles were taken from the station on Tuesday, 3 to 5pm. Did you see who?",
            areas=[ward],
            channels=["email", "sms"],
        )
        found = re.search(r"WL-[0-9A-Z]{7}", browser.shown.says("Check the alert", "This goes to").words)
        assert found is not None
        address = browser.send(to="/send").url

        def over() -> bool:
            return "Everything has left" in browser.open(address).words

        wait_until(over, seconds=120, what="the appeal to be sent")
        return found[0], browser.open(address)

    def answer(self, browser: Browser) -> None:
        """Both replies stand in the inbox, under the appeal; one is answered, both are closed."""
        wait_until(lambda: "ladder" in browser.open("/staff/inbox").words, what="the reply by text")
        browser.open("/staff/inbox").says(HEADLINE, KNOWN)
        browser.follow("Amina")
        browser.send(to="/answer", body=ANSWER).says(ANSWER)
        browser.send(to="/close").says("Open again")

    def sign_out(self, browser: Browser) -> None:
        browser.open("/staff/account")
        browser.send(to="/staff/sign-out").says("Officers: sign in")


_WORDS = (
    "amber", "basket", "candle", "daisy", "ember", "fiddle", "garnet", "harbour", "island", "jigsaw", "kettle",
    "lantern", "meadow", "nutmeg", "orchard", "pebble", "quarry", "ribbon", "saddle", "timber", "umbrella", "violet",
    "walnut", "yonder", "zephyr",
)  # fmt: skip
