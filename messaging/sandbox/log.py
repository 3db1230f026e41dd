"""The acceptance log: one line of JSON for each call that the sandbox took."""

from __future__ import annotations

import os
import time
from pathlib import Path

import orjson


class AcceptanceLog:
    """Appends to ``acceptance.jsonl``; a line is with the operating system when ``append`` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, channel: str, message_id: str, sender: str, refs: list[str], to: list[str]) -> None:
        """``refs`` and ``to`` go together, place by place; a message without a reference has ""."""
        record = {
            "at": time.time(),
            "channel": channel,
            "id": message_id,
            "from": sender,
            "refs": refs,
            "to": to,
        }
        line = memoryview(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        while line:
            line = line[os.write(self._fd, line) :]

    def close(self) -> None:
        os.close(self._fd)
