"""One racing process of test_issue_race: claims until nothing is left, and prints what it got.

Usage: claimer.py ACTOR MODE SEED, in the lab's directory. MODE is `queue` (by id and next, mixed),
`naive` (reads, then writes, without a transaction: the mutant) or `hold` (one short claim, then
sleeps).
"""

import json
import random
import sys
import time

from arcfusion.core import store
from arcfusion.core.errors import ArcFusionError
from arcfusion.core.home import Home, find_home
from arcfusion.issues.claims import next_sql
from arcfusion.issues.config import QueueConfig
from arcfusion.issues.errors import NothingReadyError
from arcfusion.issues.queue import Queue


def race_queue(home: Home, actor: str, seed: int) -> dict:
    won, refused = [], {}
    order = random.Random(seed)
    with Queue(home, actor, config=QueueConfig(lease_s=600)) as queue:
        ids = [issue.id for issue in queue.list()]
        order.shuffle(ids)
        wait_for_start(home)
        while True:
            target = ids.pop() if ids and order.random() < 0.5 else None
            try:
                claim = queue.claim(target)
            except NothingReadyError:
                break
            except ArcFusionError as error:
                name = f"{type(error).__name__} {int(error.exit_code)}"
                refused[name] = refused.get(name, 0) + 1
            else:
                won.append([claim.issue_id, claim.fence])
    return {"won": won, "refused": refused}


def race_naive(home: Home, actor: str) -> dict:
    won = []
    connection = store.connect(home)
    wait_for_start(home)
    while row := connection.execute(next_sql(""), (1e12,)).fetchone():
        connection.execute(
            "UPDATE issue SET status = 'in_progress', assignee = ? WHERE id = ?", (actor, row[0])
        )
        won.append([row[0], 1])
    connection.close()
    return {"won": won, "refused": {}}


def hold(home: Home, actor: str) -> None:
    with Queue(home, actor, config=QueueConfig(lease_s=2.0, heartbeat_s=0.5)) as queue:
        claim = queue.claim()
        sys.stdout.write(json.dumps({"won": [[claim.issue_id, claim.fence]]}) + "\n")
        sys.stdout.flush()
        time.sleep(60)


def wait_for_start(home: Home) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not (home.path / "go").exists():
        time.sleep(0.005)


if __name__ == "__main__":
    lab, name, mode, number = find_home(), sys.argv[1], sys.argv[2], int(sys.argv[3])
    if mode == "hold":
        hold(lab, name)
    else:
        outcome = race_naive(lab, name) if mode == "naive" else race_queue(lab, name, number)
        sys.stdout.write(json.dumps(outcome) + "\n")
