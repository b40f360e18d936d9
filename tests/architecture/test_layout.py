"""This fails when a file grows past one idea, or the repository's layout is not the agreed one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("agents", "core", "kernels", "issues", "experiments")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_is_at_most_400_lines_of_ascii(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert text.isascii()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_function_is_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_is_linked_for_static_tools_and_refuses_its_plain_name(folder: str) -> None:
    link = ROOT / ".src" / "arcfusion" / folder
    assert link.is_symlink()
    assert link.resolve() == ROOT / folder
    assert f'if __name__ != "arcfusion.{folder}"' in (ROOT / folder / "__init__.py").read_text()


def test_nothing_else_lies_at_the_top() -> None:
    allowed = {
        *FOLDERS, "tests", "pyproject.toml", "README.md", "AGENTS.md", "HANDOFF.md", "LICENSE",
        "CHANGELOG.md", "Makefile", "constraints.txt",
    }  # fmt: skip
    tracked = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert tracked - {"build", "dist", "__pycache__"} <= allowed


def test_test_files_have_unique_names_and_no_packages() -> None:
    names = [path.name for path in TESTS if path.name != "conftest.py"]
    assert "__init__.py" not in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize("document", ["README.md", "AGENTS.md"])
def test_a_document_is_at_most_150_lines(document: str) -> None:
    assert len((ROOT / document).read_text().splitlines()) <= 150


def test_every_package_folder_has_an_init_file() -> None:
    missing = {name(path.parent) for path in SOURCES if not (path.parent / "__init__.py").exists()}
    assert missing == set()
