"""Opens a connection to Postgres, and says in one line why it can not: never with a password."""

import re
from typing import TYPE_CHECKING, Any

from arcfusion.core.environment import describe_url
from arcfusion.core.errors import (
    ArcFusionError,
    BadInputError,
    DatabaseUnreachableError,
    UnavailableError,
)

if TYPE_CHECKING:
    import psycopg

CONNECT_TIMEOUT_S = 10

# A worker that was stopped inside a write must not hold its locks for ever, and the server must
# notice that a machine is gone. An acknowledged write is on the disk, whatever is configured.
_SETTINGS = """SET lock_timeout = '30s';
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'"""
_SCHEMES = ("postgresql+psycopg://", "postgresql://", "postgres://")
_RETRYABLE_TEXT = re.compile(
    r"refused|timeout|timed out|starting up|shutting down|recovery|too many|slots are reserved"
    r"|closed the connection|reset by peer|unreachable|No such file",
    re.IGNORECASE,
)


def open_raw(url: str) -> "psycopg.Connection[Any]":
    """Connect in autocommit mode, with the session's settings.

    Raises:
        UnavailableError: psycopg is not installed.
        BadInputError: the URL is not one, or names a database that is not there.
        DatabaseUnreachableError: the server does not answer.
    """
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict, make_conninfo
    except ImportError as error:
        raise UnavailableError(
            "ARCFUSION_DB needs psycopg: pip install 'arcfusion[postgres]'"
        ) from error
    if not url.startswith(_SCHEMES):
        raise BadInputError(
            f"{describe_url(url)} is not a database: ARCFUSION_DB is "
            "postgresql+psycopg://user@host:port/name, or nothing for SQLite"
        )
    try:
        words = conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
    except psycopg.ProgrammingError:
        # The driver's message would quote the URL, and with it a password that breaks its form.
        raise BadInputError(
            f"{describe_url(url)} is not a URL: quote special characters of the user and password"
        ) from None
    defaults: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "arcfusion",
    }
    try:
        raw: psycopg.Connection[Any] = psycopg.connect(
            make_conninfo("", **(defaults | words)),
            autocommit=True,
            cursor_factory=psycopg.RawCursor,
        )
        raw.execute(_SETTINGS)
    except psycopg.Error as error:
        raise _connect_error(url, str(words.get("password") or ""), str(error)) from None
    raw.adapters.register_loader("numeric", _number_loader())
    return raw


def _number_loader() -> type:
    """Sums of whole numbers are NUMERIC on Postgres: give them back as Python's own numbers."""
    from psycopg.adapt import Buffer, Loader

    class NumberLoader(Loader):
        def load(self, data: Buffer) -> int | float:
            text = bytes(data).decode()
            return int(text) if text.lstrip("-").isdigit() else float(text)

    return NumberLoader


def _connect_error(url: str, password: str, text: str) -> ArcFusionError:
    lines = [line for line in text.splitlines() if line.strip()] or ["no reason given"]
    reason = lines[-1].strip()
    if "translate host name" in text or "resolve host" in text:
        # The driver quotes the name, which is a part of the password when that holds an `@`.
        return BadInputError(f"{describe_url(url)}: its host is not known: correct ARCFUSION_DB")
    if password and password in reason:
        reason = "the driver's reason is not shown, as it holds the password"
    if _RETRYABLE_TEXT.search(text):
        return DatabaseUnreachableError(
            f"{describe_url(url)} does not answer ({reason}): try again"
        )
    return BadInputError(f"{describe_url(url)} can not be opened ({reason}): correct ARCFUSION_DB")
