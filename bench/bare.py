"""The site with one more address, which only the benchmark serves: a bare Flask view that checks Twilio's signature.

``gunicorn "bench.bare:create()"``. It is what a webhook costs that keeps nothing: the same server, the same form and
Twilio's own check, in an application of its own without any of ours around it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, abort, request
from twilio.request_validator import RequestValidator

from app.factory import create_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATH = "/bare"


def bare(token: str, public_url: str) -> Flask:
    """Twilio's documented example, answering 204."""
    app = Flask("bench.bare", static_folder=None)
    validator = RequestValidator(token)

    @app.post(PATH)
    def take() -> tuple[str, int]:
        signed = f"{public_url}{request.full_path}"
        if not validator.validate(signed, request.form, request.headers.get("X-Twilio-Signature", "")):
            abort(403)
        return "", 204

    return app


def create() -> Flask:
    """The site, with the bare view beside it, from the environment."""
    site = create_app()
    ours = site.wsgi_app
    theirs = bare(os.environ["TWILIO_AUTH_TOKEN"], os.environ["PUBLIC_URL"]).wsgi_app

    def choose(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (theirs if environ["PATH_INFO"] == PATH else ours)(environ, start_response)

    site.wsgi_app = choose  # type: ignore[method-assign]
    return site
