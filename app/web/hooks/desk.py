"""The desk that takes webhook calls: keeps them, rings, and remembers which it had to turn away.

Every answer of 2xx follows a commit. What was turned away matters as much: a provider's silence proves nothing
while it may be waiting to try again (docs/decisions, "how silence is read").
"""

from __future__ import annotations

from flask import Flask, Response, current_app, request

from app.registry import Registry
from app.services import listening
from app.services.letterbox import Letterbox
from app.web.hooks.bell import Bell

EXTENSION = "wardlink-desk"


class Desk:
    """One for an app. Threads of a process share it; processes do not."""

    def __init__(self, registry: Registry) -> None:
        self.letters = Letterbox(registry.engine)
        self.bell = Bell()
        self.listening = listening.Listening(registry.sessions)

    def begin(self) -> None:
        """This process answers calls from now on: gunicorn says so after its fork."""
        self.listening.begin()

    def end(self) -> None:
        """It answers no more, and every call it took is answered."""
        self.listening.end()


def install(app: Flask, registry: Registry) -> None:
    app.extensions[EXTENSION] = Desk(registry)


def keep(source: str, body: str) -> None:
    """Keep a genuine call; committed when this returns. Raises OperationalError while the database is away."""
    found: Desk = current_app.extensions[EXTENSION]
    found.letters.keep(source, body)
    found.bell.ring()


def refusals(source: str, signature: str) -> object:
    """For ``after_request`` of a provider's webhooks: whatever it may try again is remembered.

    Calls without the header ``signature`` are no provider's: strangers cannot make us doubt its silence for free.
    """

    def look(response: Response) -> Response:
        if response.status_code >= 500 or (response.status_code >= 400 and signature in request.headers):
            found: Desk = current_app.extensions[EXTENSION]
            found.listening.refused(source)
        return response

    return look
