"""Reports of misuse by staff, and who of the readers must not see them."""

from __future__ import annotations

import re
from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app import crypto
from app.db import Base, EncryptedText

_WORD = re.compile(r"\w+")


class MisuseReport(Base):
    """What somebody of staff reported, to be read outside their line.

    Of an anonymous one nothing is kept that leads to its writer: no id, no time within the day (so its own id is a
    random one, unlike others), and of their team only a digest that serves for this report alone.
    """

    __tablename__ = "misuse_reports"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    reporter_id: Mapped[UUID | None] = mapped_column(
        sa.ForeignKey("staff.id", ondelete="SET NULL"), index=True
    )
    what: Mapped[str] = mapped_column("what_enc", EncryptedText("misuse.what"))
    happened: Mapped[str] = mapped_column("happened_enc", EncryptedText("misuse.happened"))
    whom: Mapped[str | None] = mapped_column("whom_enc", EncryptedText("misuse.whom"))
    # Digests of who may not read it: the writer, the writer's team, whoever it names by address.
    barred: Mapped[list[bytes]] = mapped_column(ARRAY(sa.LargeBinary), server_default="{}")
    told: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    """How many were told of it: readers, or the organisation's professional standards."""
    reported_on: Mapped[date]
    closed_at: Mapped[datetime | None] = mapped_column(index=True)
    closed_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id", ondelete="SET NULL"), index=True)
    note: Mapped[str | None] = mapped_column("note_enc", EncryptedText("misuse.note"))

    __table_args__ = (
        sa.CheckConstraint("(closed_at IS NULL) = (note_enc IS NULL)", name="closed"),
        sa.Index(
            "ix_misuse_reports_open",
            "organisation_id",
            "reported_on",
            "id",
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
        sa.Index(
            "ix_misuse_reports_closed",
            "organisation_id",
            "reported_on",
            "id",
            postgresql_where=sa.text("closed_at IS NOT NULL"),
        ),
    )

    def bar(self, *those: UUID | None) -> None:
        """Keep people and teams, by their ids, from reading this."""
        self.barred = sorted({*self.barred, *(self._mark(one) for one in those if one is not None)})

    def bars(self, staff_id: UUID, team_id: UUID | None, name: str) -> bool:
        """Whether somebody must not read this: they or their team wrote it, or it is about them."""
        mine = {self._mark(one) for one in (staff_id, team_id) if one is not None}
        return not mine.isdisjoint(self.barred) or _named(self.whom or "", name)

    def _mark(self, one: UUID) -> bytes:
        # With the report's own id: two reports of one writer share nothing.
        return crypto.keyring().digest("misuse.barred", f"{self.id} {one}")


def _named(text: str, name: str) -> bool:
    """Whether a text may mean this person: it holds their surname. In doubt somebody else reads it."""
    words = _WORD.findall(name.casefold())
    return bool(words) and words[-1] in _WORD.findall(text.casefold())
