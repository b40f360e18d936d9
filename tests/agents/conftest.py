"""A real lab in a temporary directory, made from one template a session."""

import shutil
from pathlib import Path

import pytest

from arcfusion.core import store
from arcfusion.core.home import Home, new_home
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue
from arcfusion.issues.record import Claim


@pytest.fixture(scope="session")
def lab_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = new_home(tmp_path_factory.mktemp("template"))
    store.create(home)
    return home.path


@pytest.fixture
def home(lab_template: Path, tmp_path: Path) -> Home:
    path = tmp_path / ".arcfusion"
    shutil.copytree(lab_template, path)
    return Home(path)


@pytest.fixture
def claim(home: Home) -> Claim:
    with Queue(home, "tester") as queue:
        queue.create(Draft(title="a question", labels=("agent-safe",)))
        return queue.claim()
