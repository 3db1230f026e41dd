"""The one list of queues, most urgent first."""

from __future__ import annotations

from enum import StrEnum


class Queue(StrEnum):
    """A queue of rings; a worker looks at its queues in this order before every job."""

    URGENT = "urgent"  # sending, urgent lane
    BULK = "bulk"  # sending, bulk lane
    RECEIPTS = "receipts"  # what providers report
    BACK = "back"  # imports, exports, housekeeping
