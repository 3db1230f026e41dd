"""What a page runs on: the process's registry, and one transaction for each change."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flask import Flask, current_app
from sqlalchemy.orm import Session

from app.registry import Registry
from config.settings import Settings

_KEY = "wardlink"


def install(app: Flask, registry: Registry) -> None:
    """Give the app its registry."""
    app.extensions[_KEY] = registry


def registry() -> Registry:
    """The registry of the app that answers this request."""
    found: Registry = current_app.extensions[_KEY]
    return found


def settings() -> Settings:
    return registry().settings


def transaction() -> AbstractContextManager[Session]:
    """A session that commits at the end of the block, or takes everything back."""
    return registry().sessions.begin()
