"""The lab's git repository, through one door.

Branches are made with plumbing (a temporary index, commit-tree, update-ref): the working tree and
the index of the person who works there are never touched. Every call is a fixed argument list;
hooks and fsmonitor are off, since a repository's own configuration can run commands on a
`git status`.

Source: GitPython's `Git.execute`; the traps are F41 and F42 of the project's threat list.
"""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from arcfusion.core.errors import ArcFusionError, BadInputError

_SAFE_CONFIGURATION = (
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "protocol.allow=never",
    "-c", "commit.gpgSign=false",
)  # fmt: skip
_BRANCH = re.compile(r"[a-z0-9][a-z0-9._/-]{0,120}")
_TIMEOUT_S = 60


class GitError(ArcFusionError):
    """Git refused a command."""


class NotARepositoryError(BadInputError):
    """The lab's directory is not a git repository: run `git init` there."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who a commit names."""

    name: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which git learns it; the address is never a real one."""
        address = re.sub(r"[^A-Za-z0-9._-]", "-", self.name) + "@arcfusion.invalid"
        return {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", self.name), ("EMAIL", address))
        }


@dataclass(frozen=True, slots=True)
class CommitDraft:
    """A commit that no branch has yet; `tip` is where its branch was, None when there was none."""

    reference: str
    commit: str
    tip: str | None


class Workspace:
    """A git repository to which agents add branches for review."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _git(
        self,
        *arguments: str,
        data: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        from git.cmd import Git
        from git.exc import GitCommandError, GitCommandNotFound

        variables = {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **(environment or {}),
        }
        with tempfile.TemporaryFile() as stdin:
            stdin.write(data or b"")
            stdin.seek(0)
            try:
                output = Git(str(self.root)).execute(
                    ["git", *_SAFE_CONFIGURATION, *arguments],
                    istream=stdin,
                    env=variables,
                    kill_after_timeout=_TIMEOUT_S,
                    strip_newline_in_stdout=True,
                )
            except GitCommandNotFound as error:
                raise GitError(
                    "git is not installed: install it to get branches to review"
                ) from error
            except GitCommandError as error:
                verb = arguments[0]
                raise GitError(f"git {verb} failed: {str(error.stderr).strip()}") from error
        assert isinstance(output, str)
        return output

    def create(self, files: Mapping[str, str], *, message: str, author: Author) -> None:
        """Make a repository in the (fresh) directory, with the files in its first commit."""
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit_files("main", files, message=message, author=author)
        self._git("reset", "--quiet", "--hard")

    def last_change(self, paths: Sequence[str]) -> tuple[str, str] | None:
        """Return the commit that last changed one of the paths, and its date; None if none."""
        text = self._git("log", "-1", "--format=%H %cs", "--", *paths)
        if not text:
            return None
        commit, _, date = text.partition(" ")
        return commit, date

    def is_repository(self) -> bool:
        """Whether the directory lies in a git work tree."""
        try:
            return self._git("rev-parse", "--is-inside-work-tree") == "true"
        except GitError:
            return False

    def resolve(self, revision: str) -> str | None:
        """Return the commit that the revision names, or None."""
        try:
            return self._git(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except GitError:
            return None

    def read(self, commit: str, path: str) -> str:
        """Return the file of that commit, without its last newline.

        Raises:
            GitError: there is no such commit or file.
        """
        return self._git("show", "--end-of-options", f"{commit}:{path}")

    def branches(self, prefix: str) -> list[str]:
        """Return the local branches under the prefix, sorted."""
        pattern = f"refs/heads/{prefix}"
        text = self._git("for-each-ref", "--format=%(refname:short)", "--", pattern)
        return sorted(text.split())

    def commit_files(
        self, branch: str, files: Mapping[str, str], *, message: str, author: Author
    ) -> str:
        """Add the files to the branch in one commit and return it; unchanged files make no commit.

        Raises:
            NotARepositoryError, GitError: as `draft_commit` and `move_branch`.
        """
        draft = self.draft_commit(branch, files, message=message, author=author)
        self.move_branch(draft)
        return draft.commit

    def draft_commit(
        self, branch: str, files: Mapping[str, str], *, message: str, author: Author
    ) -> CommitDraft:
        """Make the commit that adds the files to the branch; no branch is made or moved.

        A new branch starts at HEAD, or as a root commit in an empty repository. Unchanged files
        make no commit.

        Raises:
            NotARepositoryError: there is no repository.
            GitError: git refused.
        """
        if not _BRANCH.fullmatch(branch) or ".." in branch or branch.endswith((".lock", "/")):
            raise BadInputError(f"{branch!r} is not a branch name that agents may use")
        if not self.is_repository():
            raise NotARepositoryError(
                f"{str(self.root)!r} is not a git repository: run `git init` there"
            )
        reference = f"refs/heads/{branch}"
        tip = self.resolve(reference)
        parent = tip or self.resolve("HEAD")
        with tempfile.TemporaryDirectory() as directory:
            index = {"GIT_INDEX_FILE": os.path.join(directory, "index")}  # noqa: PTH118  # for git
            if parent is not None:
                self._git("read-tree", "--end-of-options", parent, environment=index)
            for path, text in sorted(files.items()):
                blob = self._git("hash-object", "-w", "--stdin", data=text.encode())
                entry = f"100644,{blob},{path}"
                self._git("update-index", "--add", "--cacheinfo", entry, environment=index)
            tree = self._git("write-tree", environment=index)
        if tip is not None and self._git("rev-parse", f"{tip}^{{tree}}") == tree:
            return CommitDraft(reference, tip, tip)
        parents = [] if parent is None else ["-p", parent]
        commit = self._git(
            "commit-tree", tree, *parents, data=message.encode(), environment=author.environment
        )
        return CommitDraft(reference, commit, tip)

    def move_branch(self, draft: CommitDraft) -> None:
        """Let the branch point to the drafted commit.

        Raises:
            GitError: another process has made or moved the branch since the draft.
        """
        if draft.commit != draft.tip:
            old = draft.tip or "0" * 40
            self._git("update-ref", "--end-of-options", draft.reference, draft.commit, old)
