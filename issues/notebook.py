"""What an actor writes that is about no issue: what it remembers; and how it writes at all."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from arcfusion.core import store
from arcfusion.core.errors import DatabaseBusyError, DatabaseFailedError, DatabaseFullError
from arcfusion.core.home import Home
from arcfusion.issues.clock import Clock
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.errors import DiskFailedError, DiskFullError, QueueBusyError
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

    @contextmanager
    def _write(self, *, is_structural: bool = True) -> Iterator[Transaction]:
        try:
            with store.write(self._connection, is_structural=is_structural) as connection:
                tx = Transaction(
                    connection=connection, now=self.now(), actor=self.actor, session=self.session
                )
                yield tx
                tx.write_events()
        except DatabaseBusyError as error:
            raise QueueBusyError(str(error)) from error
        except DatabaseFullError as error:
            raise DiskFullError(str(error)) from error
        except DatabaseFailedError as error:
            raise DiskFailedError from error

    def _write_one(self) -> AbstractContextManager[Transaction]:
        """What changes one issue and locks its rows itself: such writes run beside each other."""
        return self._write(is_structural=False)
