"""This fails when a review branch disturbs the person's tree, runs a hook, or loses a commit."""

import subprocess
from pathlib import Path

import pytest

from arcfusion.agents.workspace import Author, GitError, NotARepositoryError, Workspace
from arcfusion.core.errors import BadInputError

AUTHOR = Author("a worker")


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "mine.txt").write_text("mine\n")
    git(tmp_path, "add", "mine.txt")
    git(
        tmp_path,
        "-c",
        "user.name=p",
        "-c",
        "user.email=p@example.invalid",
        "commit",
        "-qm",
        "first",
    )
    return tmp_path


def test_a_branch_is_added_and_the_working_tree_stays_as_it_was(repository: Path) -> None:
    (repository / "unsaved.txt").write_text("work in progress\n")
    before = git(repository, "status", "--porcelain=v1")
    commit = Workspace(repository).commit_files(
        "agent/lab-1", {"lab/a.py": "x = 1\n"}, message="A finding", author=AUTHOR
    )
    assert git(repository, "status", "--porcelain=v1") == before
    assert git(repository, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert git(repository, "show", f"{commit}:lab/a.py") == "x = 1"
    assert git(repository, "show", f"{commit}:mine.txt") == "mine"
    assert git(repository, "log", "-1", "--format=%an %s", "agent/lab-1") == "a worker A finding"


def test_the_same_files_again_make_no_second_commit(repository: Path) -> None:
    workspace = Workspace(repository)
    first = workspace.commit_files("agent/x", {"a": "1"}, message="m", author=AUTHOR)
    again = workspace.commit_files("agent/x", {"a": "1"}, message="other", author=AUTHOR)
    changed = workspace.commit_files("agent/x", {"a": "2"}, message="m", author=AUTHOR)
    assert first == again
    assert git(repository, "rev-parse", f"{changed}^") == first
    assert workspace.branches("agent/") == ["agent/x"]


def test_an_empty_repository_gets_a_root_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commit = Workspace(tmp_path).commit_files("agent/x", {"a": "1"}, message="m", author=AUTHOR)
    assert git(tmp_path, "rev-list", "--count", commit) == "1"


@pytest.mark.parametrize(
    "name", ["--upload-pack=x", "-h", "a..b", "A/b", "a b", "x.lock", "@{-1}", "a\nb", "", "a/"]
)
def test_a_hostile_branch_name_is_refused(repository: Path, name: str) -> None:
    with pytest.raises(BadInputError):
        Workspace(repository).commit_files(name, {"a": "1"}, message="m", author=AUTHOR)
    assert git(repository, "branch", "--format=%(refname:short)") == "main"


def test_a_path_that_leaves_the_tree_is_refused_by_git(repository: Path) -> None:
    with pytest.raises(GitError):
        Workspace(repository).commit_files("agent/x", {"../a": "1"}, message="m", author=AUTHOR)
    assert Workspace(repository).branches("agent/") == []


def test_the_repositorys_own_hooks_and_fsmonitor_do_not_run(
    repository: Path, tmp_path: Path
) -> None:
    fired = tmp_path / "fired"
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {fired}\n")
    script.chmod(0o755)
    hook = repository / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(script.read_text())
    hook.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(script))
    fired.unlink(missing_ok=True)
    Workspace(repository).commit_files("agent/x", {"a": "1"}, message="m", author=AUTHOR)
    assert not fired.exists()


def test_a_directory_without_a_repository_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert not workspace.is_repository()
    with pytest.raises(NotARepositoryError, match="git init"):
        workspace.commit_files("agent/x", {"a": "1"}, message="m", author=AUTHOR)


def test_an_unknown_revision_resolves_to_nothing(repository: Path) -> None:
    assert Workspace(repository).resolve("0" * 40) is None
    assert Workspace(repository).resolve("--help") is None
