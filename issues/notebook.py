"""What an actor writes that is about no issue: what it remembers; and how it writes at all."""

from collections.abc import Mapping
from types import TracebackType

from arcfusion.core import store
from arcfusion.core.database import Connection
from arcfusion.core.home import Home
from arcfusion.issues.clock import Clock
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.evidence import Check, EvidenceKind
from arcfusion.issues.transaction import Transaction
from arcfusion.issues.view import View


class Notebook(View):
    """A view on which one actor writes; see `Queue` for the arguments."""

    def __init__(
        self,
        home: Home,
        actor: str,
        *,
        session: str | None = None,
        clock: Clock | None = None,
        config: QueueConfig | None = None,
        checks: Mapping[EvidenceKind, Check] | None = None,
    ) -> None:
        super().__init__(home, clock=clock, config=config)
        self.actor = actor
        self.session = session
        self._checks = dict(checks or {})

    def remember(
        self,
        text: str,
        *,
        key: str | None = None,
        issue_id: str | None = None,
        supersedes: str | None = None,
    ) -> str:
        """Keep a text for later workers, in the place of another one; return its key."""
        from arcfusion.issues import memory

        with self._write() as tx:
            return memory.remember(tx, text, key=key, issue_id=issue_id, supersedes=supersedes)

    def forget(self, key: str) -> None:
        """Delete what is remembered under the key.

        Raises:
            MemoryUnknownError: nothing is.
        """
        from arcfusion.issues import memory

        with self._write() as tx:
            memory.forget(tx, key)

    def _write(self, *, is_structural: bool = True) -> "_Write":
        return _Write(self, is_structural=is_structural)

    def _write_one(self) -> "_Write":
        """What changes one issue and locks its rows itself: such writes run beside each other."""
        return _Write(self, is_structural=False)


class _Write:
    """A write by the notebook's actor, with its events."""

    __slots__ = ("_notebook", "_tx", "_writing")

    def __init__(self, notebook: Notebook, *, is_structural: bool) -> None:
        self._notebook = notebook
        self._writing = store.write(
            notebook._connection,
            is_structural=is_structural,
            guard=self._open,
            finish=self._finish,
        )

    def _open(self, connection: Connection) -> None:
        book = self._notebook
        self._tx = Transaction(
            connection=connection, now=book.now(), actor=book.actor, session=book.session
        )

    def _finish(self) -> None:
        self._tx.write_events()

    def __enter__(self) -> Transaction:
        self._writing.__enter__()
        return self._tx

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.__exit__(kind, error, trace)
