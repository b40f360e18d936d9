"""The settings that light commands read, from the environment and `.env`.

Standard library only: `core.settings` reads all settings through pydantic-settings (0.2 CPU s to
import), and a command that only looks at the queue must not pay for that.
"""

import os
import re
from pathlib import Path

from arcfusion.core.errors import BadInputError


def read_variable(name: str) -> str | None:
    """Return the variable from the environment, else from `./.env`; None when unset or empty."""
    value = os.environ.get(name)
    if value:
        return value
    file = Path(".env")
    if not file.is_file():
        return None
    from dotenv import dotenv_values

    return dotenv_values(file).get(name) or None


def actor_name() -> str:
    """Who is acting: `ARCFUSION_ACTOR`, else the login name."""
    named = read_variable("ARCFUSION_ACTOR")
    if named:
        return named
    import getpass

    return getpass.getuser()


def database_url() -> str | None:
    """Return `ARCFUSION_DB`, the Postgres database of the lab; None means SQLite in its home."""
    return read_variable("ARCFUSION_DB")


def describe_url(url: str) -> str:
    """Return the setting as it may be printed: without password and options."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "ARCFUSION_DB"
    credentials, at, place = rest.rpartition("@")
    user = re.split("[:/?]", credentials)[0]
    return f"{scheme}://{user}{at}{place.partition('?')[0]}"


def pool_name() -> str:
    """Whose GPUs a claim takes: `ARCFUSION_POOL`, else the host's name."""
    return read_variable("ARCFUSION_POOL") or os.uname().nodename


def read_whole(name: str) -> int | None:
    """Return the variable as a whole number from 1; None when it is not set.

    Raises:
        BadInputError: it is none.
    """
    text = read_variable(name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise BadInputError(f"{name} is {text!r}: use a whole number from 1")
    return int(text)


def read_seconds(name: str) -> float | None:
    """Return the variable as seconds; None when it is not set.

    Raises:
        BadInputError: it is no number.
    """
    text = read_variable(name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise BadInputError(f"{name} is {text!r}: use a number of seconds") from error
