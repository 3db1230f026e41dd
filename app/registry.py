"""What a process runs on, opened once: settings, keys, engine, sessions, the doorbell.

Importing it imports every model, so the metadata is whole wherever a process was opened.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from app import crypto, queue
from app.db import Base, make_engine, make_sessions
from app.embedded import client as embedded
from app.models import (  # noqa: F401
    access,
    alerts,
    area_changes,
    areas,
    audit,
    confirmations,
    consent,
    deferral,
    ledger,
    limits,
    misuse,
    organisations,
    people,
    receipts,
    reconcile,
    register,
    register_cells,
    register_watch,
    replies,
    retention,
    routes,
    service_messages,
    sight,
    sign_in,
    staff,
    teams,
)
from config.fields import Part
from config.settings import Settings
from messaging.links import Signer

metadata = Base.metadata


# How long after its use a worker's connection is taken to be alive without asking.
TRUST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Registry:
    """A process's settings, database and signer of links."""

    settings: Settings
    engine: sa.Engine
    sessions: sessionmaker[Session]

    @property
    def signer(self) -> Signer:
        """Signs and checks the links in messages; its key ids stand in the links."""
        keys = self.settings.link_keys
        if keys is None:
            raise crypto.CryptoError(crypto.CryptoCode.NO_KEYRING, "LINK_KEYS is not set in this process.")
        return Signer(keys.keys, keys.current)


def database_url(settings: Settings) -> str:
    """The database as this process's role sees it."""
    return {
        Part.APP: settings.database_url,
        Part.WORKER: settings.worker_database_url,
        Part.SEALER: settings.sealer_database_url,
        Part.OWNER: settings.owner_database_url,
    }[settings.part]


def open_registry(settings: Settings | None = None, part: Part = Part.APP, *, pool_size: int = 5) -> Registry:
    """Settings from the environment unless given, embedded services started if none are named.

    Installs the process's keyring and doorbell. SettingsError or EmbeddedError say what is wrong.
    """
    settings = settings or Settings.load(os.environ, part)
    settings = embedded.complete(settings)
    if settings.value_keys is not None:
        crypto.install(crypto.Keyring.from_settings(settings))
    if settings.redis_url:
        queue.connect(settings.redis_url)
    engine = make_engine(
        database_url(settings),
        pool_size=pool_size,
        application_name=f"wardlink-{settings.part}",
        # A worker frozen inside a transaction keeps its locks no longer than its lease: otherwise
        # nobody could take its batches over, nor the sweeper get past them.
        idle_seconds=settings.lease_seconds if settings.part is Part.WORKER else 0,
        trust_seconds=TRUST_SECONDS if settings.part is Part.WORKER else 0,
    )
    if settings.embedded:  # a killed keeper, and with it both servers, comes back at the next connection
        sa.event.listen(engine, "do_connect", lambda *_: embedded.revive(settings.local_dir))
    return Registry(settings, engine, make_sessions(engine))
