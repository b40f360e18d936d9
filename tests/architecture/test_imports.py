"""This fails when a module needs another one first, or a light command loads a heavy library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arcfusion.core import store
from arcfusion.core.home import new_home

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("agents", "core", "kernels", "issues", "experiments")
HEAVY = (
    "torch",
    "anthropic",
    "sqlmodel",
    "sqlalchemy",
    "git",
    "pydantic_settings",
    "alembic",
    "numpy",
    "psycopg",
)

# Heavy libraries are loaded once and each module is imported in a fork of that process: a module
# that only works after a sibling was imported fails in its own fork.
PROBE = """
import importlib, json, os, sys
import torch, sqlmodel, scipy.special, yaml, typer, numpy, pydantic, safetensors.torch
failed = []
for name in json.loads(sys.argv[1]):
    pid = os.fork()
    if pid == 0:
        try:
            importlib.import_module(name)
        except BaseException as error:
            sys.stderr.write(f"{name}: {error!r}\\n")
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        failed.append(name)
print(json.dumps(failed))
"""


def module_names() -> list[str]:
    names = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if all(part.isidentifier() for part in parts) and parts[:3] != (
                "core",
                "migrations",
                "env",
            ):
                if parts[-1] == "__main__":
                    continue
                names.append(".".join(("arcfusion", *parts)).removesuffix(".__init__"))
    return names


def test_every_module_imports_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(module_names())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [], done.stderr


RUN = """
import sys
sys.argv = ["arcfusion", *sys.argv[1:]]
from arcfusion.agents.cli.app import main
try:
    main()
except SystemExit as leaving:
    assert not leaving.code, leaving.code
print("LOADED", *sorted(sys.modules))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["issue", "ready"],
        ["issue", "ready", "--json"],
        ["leaderboard"],
        ["leaderboard", "--json"],
    ],
    ids=" ".join,
)
def test_a_light_command_loads_no_heavy_library(arguments: list[str], tmp_path: Path) -> None:
    store.create(new_home(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "ARCFUSION_HOME": "", "ARCFUSION_DB": ""},
    )  # fmt: skip
    loaded = done.stdout.split("LOADED", 1)[1].split()
    assert [name for name in HEAVY if name in loaded] == []
