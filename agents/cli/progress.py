"""How far trainings are, on a terminal's stderr, for commands that wait for them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arcfusion.core.home import Home

if TYPE_CHECKING:
    from arcfusion.experiments.experiment import Progress


@contextmanager
def watch_runs(home: Home) -> "Iterator[Callable[[Progress], None]]":
    """Give a `tick` that draws the optimizer steps of all runs; silent without a terminal."""
    from arcfusion.core.training.progress import ProgressBar
    from arcfusion.experiments.launch.local import read_status

    bar: ProgressBar | None = None

    def tick(progress: "Progress") -> None:
        nonlocal bar
        statuses = [read_status(home.runs_path / run_id) for run_id in progress.running]
        known = [status for status in statuses if status is not None]
        if not known:
            return
        steps = known[0].steps
        bar = bar or ProgressBar(progress.total * steps, "training")
        done = progress.done * steps + sum(status.step for status in known)
        losses = [f"{status.loss:.3f}" for status in known if status.loss is not None]
        bar.update(done, f"{progress.done}/{progress.total} runs, loss {' '.join(losses) or '-'}")

    try:
        yield tick
    finally:
        if bar is not None:
            bar.close()
