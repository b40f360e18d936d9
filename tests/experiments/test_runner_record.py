"""This fails when two threads of a supervisor that write the heartbeat at once trip each other."""

import threading
from pathlib import Path

from arcfusion.experiments.runner.record import write_atomically


def test_two_threads_may_replace_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    failures: list[BaseException] = []

    def write(word: str) -> None:
        try:
            for _ in range(400):
                write_atomically(path, word * 200, durable=False)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(word,)) for word in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_text() in {"a" * 200, "b" * 200}
    assert [file.name for file in tmp_path.iterdir()] == ["status.json"]
