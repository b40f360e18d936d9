"""Every setting that exists. `.env.example` lists the same ones; a test compares them."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from arcfusion.core.errors import BadInputError


class Settings(BaseSettings):
    """Settings from the environment (`ARCFUSION_*`), then `.env`, then these defaults."""

    model_config = SettingsConfigDict(env_prefix="ARCFUSION_", env_file=".env", extra="ignore")

    home: Path | None = Field(None, description="the lab's directory; default: `.arcfusion/`")
    db: str | None = Field(None, description="Postgres URL; default: SQLite in the lab's directory")
    actor: str | None = Field(None, description="who is acting; default: the login name")
    sandbox: Literal["good", "weak", "none"] = Field(
        "good", description="the weakest sandbox in which generated code may run"
    )
    parallel_runs: int = Field(2, ge=1, le=64, description="trainings at the same time")
    lease_s: float = Field(60.0, gt=0, description="seconds that a claim holds without heartbeat")
    heartbeat_s: float = Field(10.0, gt=0, description="seconds between a worker's heartbeats")
    max_attempts: int = Field(3, ge=1, description="lost or failed attempts until quarantine")
    wip_limit: int | None = Field(
        None, ge=1, description="issues that a worker may hold; default: 1 for one with a session"
    )
    pool: str | None = Field(None, description="whose GPUs a claim takes; default: the host's name")


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        BadInputError: a setting has a value that is not allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "ARCFUSION_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadInputError(f"{name} is {first['input']!r}: {first['msg'].lower()}") from error
