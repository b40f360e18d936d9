"""This fails when INVARIANTS.md names a test that is not there, or a number twice."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TEXT = Path(__file__).with_name("INVARIANTS.md").read_text()
ROW = re.compile(r"\| (Q-\d+) \| ([^|]+) \| (high|medium|low) \| (tests/\S+\.py)::(\S+) \|")
ROWS = ROW.findall(TEXT)
# A beginning of the numbers each: claim, and so on.
GROUPS = (
    *("Claim", "Lease", "Fence", "Graph", "Close", "Durability", "Log", "Exchange"),
    *("Fairness and capacity", "Upgrade and care"),
)


def test_every_row_of_the_tables_was_read() -> None:
    assert len(ROWS) == len([line for line in TEXT.splitlines() if line.startswith("| Q")])
    assert len(ROWS) > 40
    assert re.findall(r"^## (.+)$", TEXT, re.MULTILINE) == [*GROUPS]


def test_no_number_stands_twice() -> None:
    assert [n for n, count in Counter(row[0] for row in ROWS).items() if count > 1] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_invariant_is_one_sentence_and_its_test_exists(row: tuple[str, ...]) -> None:
    _, sentence, _, path, name = row
    assert sentence.endswith(".")
    assert ". " not in sentence
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
