"""A fresh lab for each test and each kind of database.

It is copied from one that is made once: Alembic takes half a second.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from arcfusion.core import store
from arcfusion.core.home import Home, new_home
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.queue import Queue


class FakeClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="session")
def template_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ARCFUSION_HOME", raising=False)
        store.create(new_home(workspace))
    return workspace


@pytest.fixture
def make_lab(template_lab: Path, on_database: Callable[[Home], Home]) -> Callable[[Path], Home]:
    """Make a lab in a new directory."""

    def make(workspace: Path) -> Home:
        shutil.copytree(template_lab, workspace)
        return on_database(Home(workspace / ".arcfusion"))

    return make


@pytest.fixture
def lab(make_lab: Callable[[Path], Home], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("ARCFUSION_HOME", "ARCFUSION_DB"):
        monkeypatch.delenv(name, raising=False)
    workspace = tmp_path / "lab"
    home = make_lab(workspace)
    monkeypatch.chdir(workspace)
    return home


@pytest.fixture
def fake_clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(lab: Home, fake_clock: FakeClock):
    with Queue(lab, "alice", clock=fake_clock) as opened:
        yield opened


@pytest.fixture
def rival(lab: Home, fake_clock: FakeClock):
    with Queue(lab, "bob", clock=fake_clock, config=QueueConfig()) as opened:
        yield opened
