from __future__ import annotations

from config.queues import Queue


def test_urgent_work_comes_first() -> None:
    assert [queue.value for queue in Queue] == ["urgent", "bulk", "receipts", "back"]
