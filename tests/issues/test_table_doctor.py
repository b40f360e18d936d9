"""This fails when `issue doctor` looks at one kind of database only."""

import json
import sys
from contextlib import closing

import pytest

from arcfusion.agents.cli import app as cli
from arcfusion.core import store
from arcfusion.core.home import Home
from arcfusion.issues.draft import Draft
from arcfusion.issues.queue import Queue


def run(capsys: pytest.CaptureFixture[str], monkeypatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["arcfusion", *words])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def test_the_tables_are_looked_at_on_either_database(lab: Home, monkeypatch, capsys) -> None:
    with Queue(lab, "alice") as queue:
        for number in range(4):
            queue.create(Draft(title=str(number)))
        queue.claim()
    assert run(capsys, monkeypatch, "issue", "doctor", "--deep")[0] == 0
    with closing(store.connect(lab)) as connection, store.write(connection):
        connection.execute("UPDATE issue SET blocked_by = 2 WHERE title = '3'")
        connection.execute("DELETE FROM event WHERE seq = 2")
    code, out, err = run(capsys, monkeypatch, "issue", "doctor", "--deep", "--json")
    assert (code, json.loads(err)["code"]) == (5, "queue_damaged")
    wrong = {one["check"] for one in json.loads(out)["data"] if one["state"] == "wrong"}
    assert wrong == {"blockers", "events", "replay"}


def test_a_file_s_verbs_name_the_server_s(lab: Home, monkeypatch, capsys) -> None:
    code, _, err = run(capsys, monkeypatch, "backup", "copy.db")
    if lab.database is None:
        assert code == 0
    else:
        assert code == 6
        assert "pg_dump" in err
        assert "password" not in err


def test_an_upgrade_of_the_newest_schema_changes_nothing(lab: Home, monkeypatch, capsys) -> None:
    code, out, _ = run(capsys, monkeypatch, "upgrade", "--json")
    assert code == 0
    done = json.loads(out)["data"]
    assert (done["before"], done["after"], done["backup"]) == (store.SCHEMA_HEAD,) * 2 + (None,)
