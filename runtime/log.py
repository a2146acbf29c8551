"""Structured logging for every process: JSON lines in service, readable on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_named = structlog.stdlib.LoggerFactory([__name__])
_encode = json.JSONEncoder(ensure_ascii=False, default=repr).encode


def configure(part: str, *, style: str, level: str) -> None:
    """Send structlog and the standard library's logging to stderr in one form.

    `style`: json, console, or auto (console when stderr is a terminal). `part` names the process.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: tuple[Processor, ...] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=not console),
    )
    rendering: tuple[Processor, ...] = (
        # Never local variables, as a rich traceback has them: keys and passwords are among them.
        (structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),)
        if console
        else (structlog.processors.format_exc_info, _json)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("apscheduler", "uvicorn", "httpx"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    # Lines of our own go straight to stderr: the way through the standard library costs a request
    # of the API several times as much as the line itself.
    structlog.configure(
        processors=[*shared, *rendering],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(part=part)


class _Lines(structlog.WriteLogger):
    """Writes lines to stderr as they are; named as the standard library would name it."""

    def __init__(self, *names: str) -> None:
        super().__init__(sys.stderr)
        self.name = _named(*names).name


def _json(_logger: WrappedLogger, _method: str, event: EventDict) -> Any:
    return _encode(event)
