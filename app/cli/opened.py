"""What a command runs on: the registry of a part, closed when the command ends, and who acts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.audit import record as audit
from app.registry import Registry, open_registry
from config.fields import Part

# The operating system knows who types; an id is not to be had from it, and a name is not kept.
OPERATOR = audit.Actor(audit.ActorKind.OPERATOR, origin="cli")


@contextmanager
def registry(part: Part = Part.APP) -> Iterator[Registry]:
    """The registry of ``part`` from the environment. SettingsError or EmbeddedError say what is wrong."""
    opened = open_registry(part=part, pool_size=1)
    try:
        yield opened
    finally:
        opened.engine.dispose()
