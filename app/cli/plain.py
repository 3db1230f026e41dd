"""Every error as one plain sentence on standard error: never a traceback, never what was typed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import psycopg
import sqlalchemy as sa

from app.audit.heads import HeadsBehindError
from app.cli.stack import StackError
from app.crypto import CryptoError
from app.embedded.state import EmbeddedError
from app.errors import ServiceError
from config.settings import SettingsError
from geo.columns import BundleError
from geo.postcode import PostcodeError

_SPEAK = (
    ServiceError, PostcodeError, SettingsError, EmbeddedError, BundleError, CryptoError, HeadsBehindError,
    StackError,
)  # fmt: skip
_NOT_MIGRATED = "The database lacks a table: run `wardlink db upgrade` first."


class PlainGroup(click.Group):
    """The root of the commands; what they raise ends here."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A known error ends with status 1; a wrong call of a command with 2."""
        try:
            return super().invoke(ctx)
        except _SPEAK as error:
            raise click.ClickException(str(error)) from None
        except (sa.exc.DBAPIError, psycopg.Error) as error:
            raise click.ClickException(_database(error)) from None
        except (OSError, sa.exc.SQLAlchemyError) as error:
            raise click.ClickException(f"That did not work ({type(error).__name__}).") from None


def _database(error: sa.exc.DBAPIError | psycopg.Error) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    match cause:
        case psycopg.errors.UndefinedTable() | psycopg.errors.UndefinedFunction():
            return _NOT_MIGRATED
        case psycopg.errors.InsufficientPrivilege():
            return "This database role may not do that."
        case psycopg.OperationalError():
            return "The database does not answer, or turned the user away. Check its URL."
    # The database's own words hold the values that were sent.
    return f"The database refused that ({type(cause).__name__})."


class PlainText(click.ParamType[str]):
    """A text that can be stored: no null character, no half of a surrogate pair, bounded."""

    name = "text"

    def __init__(self, longest: int = 20_000) -> None:
        self.longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself; a usage error if it cannot be used."""
        text = str(value)
        if len(text) > self.longest:
            self.fail(f"must be {self.longest:,} characters or fewer.", param, ctx)
        if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
            self.fail("holds a character that cannot be used.", param, ctx)
        return text


class Folder(click.ParamType[Path]):
    """A folder by its path; it need not be there."""

    name = "folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a usage error if no file system could hold it."""
        return Path(PlainText(1_000).convert(value, param, ctx))


class Seconds(click.FloatRange):
    """A time within bounds; "nan" lies within none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error if it is none."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail("is not a number.", param, ctx)
        return number


TEXT = PlainText()
WORD = PlainText(200)
