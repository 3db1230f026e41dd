"""``python -m app.embedded.stop FOLDER``: stop the embedded servers of a folder (``make stop``)."""

from __future__ import annotations

import sys
from pathlib import Path

from app.embedded.client import stop
from app.embedded.state import EmbeddedError


def main(arguments: list[str]) -> int:
    """Say what was done; 1 if they would not end."""
    if len(arguments) != 1:
        sys.stderr.write("Which folder? For example: python -m app.embedded.stop .local\n")
        return 2
    folder = Path(arguments[0])
    try:
        done = stop(folder)
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{folder}: {'stopped' if done else 'nothing runs'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
