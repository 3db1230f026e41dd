"""What a page runs on: the process's registry, and one transaction for each change."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flask import Flask, current_app
from sqlalchemy.orm import Session, sessionmaker

from app.db import make_sessions
from app.registry import Registry
from config.settings import Settings
from messaging.providers.base import is_loopback

_KEY, READING = "wardlink", "wardlink-reading"


def install(app: Flask, registry: Registry) -> None:
    """Give the app its registry."""
    app.extensions[_KEY] = registry
    app.extensions[READING] = make_sessions(registry.engine.execution_options(isolation_level="AUTOCOMMIT"))


def registry() -> Registry:
    """The registry of the app that answers this request."""
    found: Registry = current_app.extensions[_KEY]
    return found


def settings() -> Settings:
    return registry().settings


def transaction() -> AbstractContextManager[Session]:
    """A session that commits at the end of the block, or takes everything back."""
    return registry().sessions.begin()


def reading() -> AbstractContextManager[Session]:
    """A session for a page that asks one question and changes nothing: without a transaction around it."""
    found: sessionmaker[Session] = current_app.extensions[READING]
    return found()


def fictional() -> bool:
    """Whether made-up addresses may be used: only where both providers are the sandbox on this machine."""
    return is_loopback(settings().twilio_base_url) and is_loopback(settings().sendgrid_base_url)
