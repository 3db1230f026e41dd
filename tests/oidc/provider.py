"""A real provider in a process of its own, and a browser of somebody who signs in there."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from config.fields import PROJECT

SECRET = "se+cret: of/us %41&~"  # what a header must encode
CLIENT = "wardlink"
ADVICE = "Node.js with oidc-provider is not here: npm ci installs it"


def user(email: str | None = None, *groups: str, verified: bool | None = True, **more: Any) -> dict[str, Any]:
    """Somebody there, who has shown a second factor unless ``amr`` says otherwise."""
    claims: dict[str, Any] = {"name": "Ada Okafor", "groups": list(groups)} | more.pop("claims", {})
    if email is not None:
        claims |= {"email": email} | ({} if verified is None else {"email_verified": verified})
    return {"claims": claims, "amr": ["pwd", "mfa"]} | more


@dataclass
class RealProvider:
    """The process; ``kid`` is the name of its key, which a new start changes."""

    port: int
    client: dict[str, Any]
    options: dict[str, Any]
    users: dict[str, Any] = field(default_factory=dict)
    kid: str = "first"
    process: subprocess.Popen[str] | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        node = shutil.which("node")
        assert node is not None
        config = {
            "port": self.port,
            "kid": self.kid,
            "users": self.users,
            "client": self.client,
        } | self.options
        self.process = subprocess.Popen(
            [node, str(PROJECT / "tests/oidc/server.mjs"), json.dumps(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def rotate(self, kid: str) -> None:
        """New keys in place of the old ones."""
        self.stop()
        self.kid = kid
        self.start()

    def control(self, **changes: Any) -> dict[str, Any]:
        """``users=``, ``fault=``; what it counted."""
        self.users = changes.get("users", self.users)
        answer = requests.post(f"{self.issuer}/control", json=changes, timeout=10)
        found: dict[str, Any] = answer.json()
        return found

    def logout_token(self, **claims: Any) -> str:
        """A logout token as it would sign one; ``key="stranger"`` and ``header=`` make it another's."""
        now = int(time.time())
        known = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 120, "jti": f"jti-{time.monotonic_ns()}",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        }  # fmt: skip
        wanted = {name: value for name, value in (known | claims).items() if value is not None}
        return requests.post(f"{self.issuer}/logout-token", json=wanted, timeout=10).text


@dataclass
class Person:
    """Somebody's browser, as far as the provider's own pages go."""

    session: requests.Session = field(default_factory=requests.Session)

    def sign_in(self, address: str, name: str) -> str:
        """Follow an address of the provider's, be ``name`` when asked, and say where they are sent at the end."""
        answer = self.session.get(address, allow_redirects=False, timeout=10)
        for _ in range(10):
            if answer.is_redirect:
                there = requests.compat.urljoin(answer.url, answer.headers["Location"])
                if urlsplit(there).netloc != urlsplit(address).netloc:
                    return there
                answer = self.session.get(there, allow_redirects=False, timeout=10)
            elif "Who are you?" in answer.text:
                answer = self.session.post(answer.url, data={"user": name}, allow_redirects=False, timeout=10)
            else:
                raise AssertionError(f"{answer.status_code} {answer.text}")
        raise AssertionError("it goes on for ever")

    def sign_out(self, address: str) -> str:
        """Confirm on the provider's own page that one wants to sign out there; where they are sent."""
        page = self.session.get(address, timeout=10)
        assert page.status_code == 200, page.text
        xsrf = re.search(r'name="xsrf" value="(\w+)"', page.text)
        assert xsrf is not None
        answer = self.session.post(
            f"{address.partition('/session/end')[0]}/session/end/confirm",
            data={"xsrf": xsrf[1], "logout": "yes"},
            allow_redirects=False,
            timeout=10,
        )
        return answer.headers["Location"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(
    redirects: list[str], *, logout: str | None = None, after: str | None = None, **options: Any
) -> Iterator[RealProvider]:
    """A provider that knows us; skipped by name where Node.js or the package is missing."""
    if shutil.which("node") is None or not (PROJECT / "node_modules/oidc-provider").exists():
        pytest.skip(ADVICE)
    client: dict[str, Any] = {"client_id": CLIENT, "client_secret": SECRET, "redirect_uris": redirects}
    if logout is not None:
        client |= {"backchannel_logout_uri": logout, "backchannel_logout_session_required": True}
    if after is not None:
        client |= {"post_logout_redirect_uris": [after]}
    made = RealProvider(free_port(), client, options)
    try:
        made.start()
        yield made
    finally:
        made.stop()
