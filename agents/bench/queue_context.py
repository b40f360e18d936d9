"""Budgeted context: what an agent is shown stays small, and what it asks for is found."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from arcfusion.agents.bench.queue_crew import Load, describe, percentile, temporary_lab
from arcfusion.agents.bench.record import Row, at_least, at_most
from arcfusion.agents.prime import MAX_TOKENS, build_prime, estimate_tokens
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft
from arcfusion.issues.handoff import MAX_BYTES, Handoff
from arcfusion.issues.queue import Queue
from arcfusion.issues.relevance import Passage, rank

MAX_CHARACTERS = 10_000
MAX_BRIEF_BYTES = 1_200
MAX_MS = 50
MIN_RECALL = 0.8
SHOWN = 5
_FOLDER = Path(__file__).parent


class Query(NamedTuple):
    """A question in other words than those of the memory that answers it."""

    text: str
    key: str


def measure(quick: bool) -> Iterator[Row]:
    """Measure what `prime`, `ready --brief` and handoffs take, and what `recall` finds."""
    yield from measure_recall()
    yield from _measure_handoffs(200 if quick else 5_000)
    with temporary_lab() as home:
        for number in (0, 1_000) if quick else (0, 10_000):
            fill(home, number)
            yield from _measure_prime(home, number, 20 if quick else 300)
        yield from _measure_recall_time(home, number, 20 if quick else 300)
        yield _measure_brief(home)


def load_memories() -> list[tuple[str, str]]:
    """Return the fixture's memories: key and text."""
    return [(line[0], line[1]) for line in _read("recall_memories.tsv")]


def load_queries() -> list[Query]:
    """Return the fixture's queries; every second one was never looked at while ranking was made."""
    return [Query(line[0], line[1]) for line in _read("recall_queries.tsv")]


def measure_recall() -> Iterator[Row]:
    """Rank the fixture's memories under keys that say nothing, as `remember` makes them."""
    memories = load_memories()
    names = {f"mem-{number}": key for number, (key, _) in enumerate(memories)}
    passages: list[Passage] = [
        (f"mem-{number}", text, float(number)) for number, (_, text) in enumerate(memories)
    ]
    queries = load_queries()
    for half, part in (("tuned", queries[::2]), ("held out", queries[1::2])):
        hits = sum(
            query.key in [names[key] for key in rank(passages, query.text, SHOWN)] for query in part
        )
        detail = f"n={len(part)} queries, {len(memories)} memories"
        yield at_least(f"recall@5, {half} queries", hits / len(part), MIN_RECALL, "share", detail)


def fill(home: Home, number: int) -> None:
    """Put so many memories, insights and (a tenth) issues into the lab."""
    if number == 0:
        return
    shuffled = random.Random(0)  # noqa: S311  # a fixed bench, no secret
    words = " ".join(text for _, text in load_memories()).split()

    def invent(count: int) -> str:
        return " ".join(shuffled.choices(words, k=count))

    with closing(store.connect(home)) as connection, store.write(connection):
        connection.executemany(
            "INSERT INTO memory (key, text, actor, created_at, updated_at)"
            " VALUES (?, ?, 'bench', ?, ?)",
            [(f"mem-{n}", invent(20), float(n), float(n)) for n in range(number)],
        )
        connection.execute(
            "INSERT INTO protocol (key, name, description, document, data, data_sha256,"
            " device_class, harness_version, created_at)"
            " VALUES ('key-bench', 'bench', '', '{}', '', '', '', '1', 0)"
        )
        connection.execute(
            "INSERT INTO comparison (id, protocol_key, baseline_fingerprint, candidate_fingerprint,"
            " baseline_run_ids, candidate_run_ids, seeds, n, confidence, mean_difference, verdict,"
            " reason, created_at) VALUES ('c', 'key-bench', 'a', 'b', '[]', '[]', '[]', 2, 0.99, 0,"
            " 'better', '', 0)"
        )
        connection.executemany(
            "INSERT INTO insight (id, claim, status, protocol_key, scope, baseline_fingerprint,"
            " candidate_fingerprint, verdict, effect, low, high, confidence, n_seeds, seeds,"
            " run_ids, related, comparison_id, created_at, updated_at) VALUES (?, ?, ?,"
            " 'key-bench', 'all', 'a', 'b', 'better', 0, 0, 0, 0.99, 2, '[]', '[]', ?, 'c', ?, ?)",
            [
                (
                    f"ins-{n}",
                    invent(30),
                    "contradicted" if n % 10 < 2 else "open",
                    json.dumps([f"ins-{n ^ 1}"]),
                    float(n),
                    float(n),
                )
                for n in range(number)
            ],
        )
    with Queue(home, "bench") as queue:
        queue.create_all([Draft(title=invent(12)) for _ in range(max(6, number // 10))])
        handoff = Handoff(tried="t", result="r", next="n")
        for _ in range(5):
            queue.release(queue.claim(), handoff, question=invent(30))
        queue.claim()


def _measure_prime(home: Home, number: int, repeats: int) -> Iterator[Row]:
    seconds: list[float] = []
    with Queue(home, "bench") as view:
        load = Load()
        text = build_prime(view, "bench")
        for _ in range(repeats):
            started = time.perf_counter()
            build_prime(view, "bench")
            seconds.append(time.perf_counter() - started)
    where = f"{number} memories and insights"
    tokens = estimate_tokens(text)
    yield at_most(f"tokens of prime at {where}", tokens, MAX_TOKENS, "tokens", "4 letters each")
    yield at_most(f"length of prime at {where}", len(text), MAX_CHARACTERS, "characters")
    yield _p99(f"prime at {where}", seconds, load)


def _measure_recall_time(home: Home, number: int, repeats: int) -> Iterator[Row]:
    queries = load_queries()
    seconds: list[float] = []
    with Queue(home, "bench") as view:
        load = Load()
        for turn in range(repeats):
            started = time.perf_counter()
            view.recall(queries[turn % len(queries)].text, SHOWN)
            seconds.append(time.perf_counter() - started)
    yield _p99(f"recall at {number} memories", seconds, load)


def _measure_brief(home: Home) -> Row:
    """Print the worst case: ids as long as they may be and titles outside of ASCII."""
    with Queue(home, "bench") as queue:
        drafts = [
            Draft(title="\U0001f40d" * 500, id=f"{n}-{'x' * 78}", priority=0) for n in range(10)
        ]
        queue.create_all(drafts)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("arcfusion")),
            *("issue", "ready", "-n", "10", "--brief", "--json"),
        ],
        env={**os.environ, "ARCFUSION_HOME": str(home.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    name, count = "ready -n 10 --brief --json", len(json.loads(done.stdout)["data"])
    detail = f"{count} issues, ids of 80 letters, titles of 500 emoji"
    return at_most(name, len(done.stdout), MAX_BRIEF_BYTES, "bytes", detail)


def _measure_handoffs(number: int) -> Iterator[Row]:
    """Cut random handoffs, of letters that take 1 to 12 bytes of JSON."""
    shuffled = random.Random(1)  # noqa: S311  # a fixed bench, no secret
    largest = 0
    for _ in range(number):
        texts = [
            shuffled.choice(['"', "a", "\u00e9", "\u4e2d", "\U0001f40d", "\n"])
            * shuffled.randrange(1, 3_000)
            + "x"
            for _ in range(6)
        ]
        files = tuple(shuffled.choice(texts)[:200] for _ in range(shuffled.randrange(40)))
        handoff = Handoff(
            tried=texts[0],
            result=texts[1],
            next=texts[2],
            question=texts[3],
            answer=texts[4],
            state_ref=texts[5],
            files=files,
        )
        largest = max(largest, len(handoff.fit().to_json().encode()))
    yield at_most("largest handoff", largest, MAX_BYTES, "bytes", f"n={number} random ones")


def _p99(name: str, seconds: list[float], load: Load) -> Row:
    worst = 1e3 * percentile(seconds, 0.99)
    return at_most(f"{name}, p99", worst, MAX_MS, "ms", describe(seconds, "calls", load))


def _read(name: str) -> Iterator[list[str]]:
    for line in (_FOLDER / name).read_text(encoding="utf-8").splitlines():
        yield line.split("\t")
