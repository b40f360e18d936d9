"""This fails when a worker can write without its claim, or the queue for a holder without a fence.

The rules are read off the source, and planted sources show that each is seen to be broken.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# The command line, the benches, the demo's backlog and the proofs are a person's.
PERSONAL = ("agents/cli/", "agents/bench/", "agents/demo.py")
WORKER_SOURCES = sorted(
    path
    for folder in ("agents", "experiments")
    for path in (ROOT / folder).rglob("*.py")
    if not str(path.relative_to(ROOT)).startswith(PERSONAL)
)
# Functions that only the command line calls may write as a person does.
WITHOUT_CLAIM = {("agents/measurement.py", "measure")}
WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE)\b")

ISSUE_SOURCES = sorted((ROOT / "issues").glob("*.py"))
FENCED = re.compile(r"\s*(?:UPDATE|DELETE FROM) (?:lease|attempt|issue)\b")
MATCHES_FENCE = re.compile(r"WHERE\b.*\bfence = \?", re.DOTALL)
GRANTED = re.compile(r"\s*INSERT INTO (?:lease|attempt)\b")
UNFENCED = {
    "what the edges say, whoever holds the issue": re.compile(
        r"UPDATE issue SET blocked_by = \? WHERE id = \?$"
    ),
    "the grant of a claim: only an open issue, and the next fence": re.compile(
        r"UPDATE issue SET status = 'in_progress'.*fence = fence \+ 1.*"
        r"(AND status = 'open'|AND \{READY\})",
        re.DOTALL,
    ),
}


def is_call(node: ast.AST, *names: str) -> bool:
    """Whether it is a call of `store.NAME`, or of a method NAME when `names` begin with a dot."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value
    on_store = isinstance(owner, ast.Name) and owner.id == "store"
    return f".{node.func.attr}" in names or (on_store and node.func.attr in names)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)


def is_unguarded(value: ast.expr | None) -> bool:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return True
    name = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    return name == "unguarded"


def text_of(node: ast.AST) -> str | None:
    """The text of a string as it is written, with what is put in as {NAME}."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or "") + (text_of(node.right) or "")
    return None


class WorkerRules(ast.NodeVisitor):
    """Collects what a worker's source must not do."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[str] = []
        self._functions = [""]
        self._guarded = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module == "arcfusion.core.store":
            for alias in node.names:
                if alias.name in {"session", "write", "open_engine"}:
                    self._add(node, f"{alias.name} is called as store.{alias.name}")

    def visit_With(self, node: ast.With) -> None:
        calls = [item.context_expr for item in node.items]
        guarded = any(
            isinstance(call, ast.Call)
            and is_call(call, "session", "write")
            and not is_unguarded(keyword(call, "guard"))
            for call in calls
        )
        for call in calls:
            self.visit(call)
        self._guarded += guarded
        for statement in node.body:
            self.visit(statement)
        self._guarded -= guarded

    def visit_Call(self, node: ast.Call) -> None:
        guard = keyword(node, "guard")
        is_person = (self.name, self._functions[-1]) in WITHOUT_CLAIM
        makes_branch = is_call(node, ".commit_files", ".move_branch")
        rules = {
            "a write without a guard": is_call(node, "session", "write") and guard is None,
            "a worker writes as a person": guard is not None
            and is_unguarded(guard)
            and not is_person,
            "an engine of its own": is_call(node, "open_engine"),
            "an issue filed without the claim": is_call(node, ".create", ".create_all")
            and self._is_queue(node)
            and keyword(node, "holding") is None,
            "a branch made outside a guarded write": makes_branch
            and not self._guarded
            and self.name != "agents/workspace.py",
            "a statement outside a guarded write": self._is_statement(node) and not self._guarded,
        }
        for problem, is_broken in rules.items():
            if is_broken:
                self._add(node, problem)
        self.generic_visit(node)

    def _is_statement(self, node: ast.Call) -> bool:
        if not is_call(node, ".execute", ".executemany", ".exec_driver_sql") or not node.args:
            return False
        return WRITES.match(text_of(node.args[0]) or "") is not None

    def _is_queue(self, node: ast.Call) -> bool:
        assert isinstance(node.func, ast.Attribute)
        return ast.unparse(node.func.value).endswith("queue")

    def _add(self, node: ast.AST, problem: str) -> None:
        self.problems.append(f"{self.name}:{getattr(node, 'lineno', 0)}: {problem}")


def check_worker(source: str, name: str) -> list[str]:
    rules = WorkerRules(name)
    rules.visit(ast.parse(source))
    return rules.problems


def statements(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text of the source, each concatenation once."""
    inside: set[int] = set()
    for node in ast.walk(tree):  # outer ones first
        text = None if id(node) in inside else text_of(node)
        if text is not None:
            inside.update(id(child) for child in ast.walk(node))
            yield getattr(node, "lineno", 0), text


def check_queue(source: str, name: str) -> list[str]:
    problems = []
    for line, text in statements(ast.parse(source)):
        is_known = any(reason.match(text) for reason in UNFENCED.values())
        if FENCED.match(text) and not MATCHES_FENCE.search(text) and not is_known:
            problems.append(f"{name}:{line}: no fence in {text[:60]!r}")
        if GRANTED.match(text) and name != "issues/claims.py":
            problems.append(f"{name}:{line}: only a claim makes a lease and an attempt")
    return problems


@pytest.mark.parametrize("path", WORKER_SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_worker_writes_only_while_it_holds_the_claim(path: Path) -> None:
    assert check_worker(path.read_text(), str(path.relative_to(ROOT))) == []


@pytest.mark.parametrize("path", ISSUE_SOURCES, ids=lambda p: p.name)
def test_a_holder_s_statement_matches_the_fence(path: Path) -> None:
    assert check_queue(path.read_text(), str(path.relative_to(ROOT))) == []


def test_the_rules_see_the_writes_that_there_are() -> None:
    texts = [path.read_text() for path in WORKER_SOURCES]
    assert sum(text.count("guard=assignment.guard") for text in texts) >= 8
    seen = [
        text
        for path in ISSUE_SOURCES
        for _, text in statements(ast.parse(path.read_text()))
        if FENCED.match(text) or GRANTED.match(text)
    ]
    assert len(seen) >= 9


PLANTED_WORKER = {
    "with store.session(home) as s:\n    s.add(1)": "without a guard",
    "with store.write(c):\n    pass": "without a guard",
    "with store.write(c, guard=None):\n    pass": "writes as a person",
    "with store.session(home, guard=store.unguarded) as s:\n    pass": "writes as a person",
    "save(home, guard=unguarded)": "writes as a person",
    "from arcfusion.core.store import session": "called as store.session",
    "store.open_engine(home)": "engine of its own",
    "assignment.queue.create(draft)": "without the claim",
    "with store.connect(home) as c:\n    c.execute('UPDATE run SET x = 1')": "guarded write",
    "c.execute(f'DELETE FROM {table}')": "guarded write",
    "workspace.commit_files('b', {})": "branch made outside",
    "with store.write(c):\n    w.move_branch(d)": "branch made outside",
}
SOUND_WORKER = (
    "with store.session(home, guard=g) as s:\n    s.add(1)",
    "with a, store.write(c, guard=x.guard):\n    c.execute('INSERT INTO t VALUES (1)')",
    "with store.write(c, guard=g):\n    w.move_branch(d)",
    "c.execute('SELECT 1')",
    "assignment.queue.create(draft, holding=claim)",
    "layers.create(1)",
)
PLANTED_QUEUE = {
    "tx.run('UPDATE lease SET heartbeat_at = ? WHERE issue_id = ?')": "no fence",
    "tx.run('DELETE FROM lease' ' WHERE issue_id = ?')": "no fence",
    "tx.run('UPDATE attempt SET handoff = ? WHERE id = ?')": "no fence",
    "tx.run(f'UPDATE issue SET {names} WHERE id = ?')": "no fence",
    "tx.run('UPDATE issue SET fence = ? WHERE id = ?')": "no fence",
    "tx.run('UPDATE issue SET ' + names + ' WHERE id = ?')": "no fence",
    "tx.run('INSERT INTO lease (issue_id) VALUES (?)')": "only a claim",
}
SOUND_QUEUE = (
    "tx.run('UPDATE lease SET x = 1 WHERE issue_id = ? AND fence = ?')",
    "tx.run(f'UPDATE issue SET {names}' ' WHERE id = ? AND fence = ?')",
    "tx.run('UPDATE issue SET blocked_by = ? WHERE id = ?')",
    "tx.run('SELECT * FROM lease')",
)


@pytest.mark.parametrize("source", PLANTED_WORKER)
def test_a_planted_worker_is_seen(source: str) -> None:
    assert PLANTED_WORKER[source] in " ".join(check_worker(source, "agents/planted.py"))


@pytest.mark.parametrize("source", SOUND_WORKER)
def test_a_sound_worker_passes(source: str) -> None:
    assert check_worker(source, "agents/planted.py") == []


@pytest.mark.parametrize("source", PLANTED_QUEUE)
def test_a_planted_statement_is_seen(source: str) -> None:
    assert PLANTED_QUEUE[source] in " ".join(check_queue(source, "issues/planted.py"))


@pytest.mark.parametrize("source", SOUND_QUEUE)
def test_a_sound_statement_passes(source: str) -> None:
    assert check_queue(source, "issues/planted.py") == []
