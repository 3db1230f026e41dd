"""How a benchmark begins and ends: what is common to its arguments, and processes of its own that end with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.cli.stack import Stack, StackError
from bench import ground, record, report


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """Arguments of the benchmark of this name; it has ``--results``."""
    made = argparse.ArgumentParser(f"bench.{name}", description=about)
    made.add_argument("--results", type=Path, default=report.RESULTS, help="folder of the result lines")
    return made


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads an argument that is a whole number within these bounds."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least:,} to {most:,}")
        return int(text)

    return read


def play(measure: Callable[[Stack], dict[str, Any]], results: Path) -> int:
    """Measure with a stack of processes, judge what came of it and keep it; the exit status."""
    stack = Stack(ground.LOCAL / "run", {})
    try:
        result = measure(stack)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        stack.stop()
    return record.finish(result, results=results)
