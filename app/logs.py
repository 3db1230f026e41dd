"""Logs by structlog: one line per event, with the ids of request and job, and nothing personal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.logging import NEVER_BELOW_WARNING, PERSONAL, REDACTED


def _is_personal(name: str) -> bool:
    lowered = name.lower()
    return lowered in PERSONAL or lowered.rpartition("_")[2] in PERSONAL


def withhold_personal(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A processor: replaces values under names that could hold personal data, also inside mappings."""
    for name, value in event.items():
        if name != "event" and _is_personal(name):
            event[name] = REDACTED
        elif isinstance(value, dict):
            event[name] = {key: REDACTED if _is_personal(str(key)) else inner for key, inner in value.items()}
    return event


def set_up(level: str, style: str, stream: TextIO | None = None) -> None:
    """Route structlog and the standard library's logging to one stream (standard error), as text or json.

    Calling it again replaces the earlier set-up.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        withhold_personal,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[Processor] = (
        [
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
        if style == "json"
        else [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NEVER_BELOW_WARNING:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


@contextmanager
def about(**ids: str | int) -> Iterator[None]:
    """Name what is being worked on (request_id, job_id, dispatch_id …) in every line written inside."""
    with structlog.contextvars.bound_contextvars(**ids):
        yield
