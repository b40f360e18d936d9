import hashlib
import importlib.util
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from arcfusion.agents.cli import data as data_command
from arcfusion.agents.cli.typed import build_app
from arcfusion.core import store
from arcfusion.core.data.corpus import (
    SOURCES,
    CorpusUnavailableError,
    NoTextError,
    UnknownCorpusError,
    is_cached,
    load_corpus,
)
from arcfusion.core.errors import ExitCode
from arcfusion.core.home import new_home


def test_pydoc_is_english_prose_and_the_same_at_every_reading(tmp_path):
    first, second = load_corpus("pydoc", tmp_path), load_corpus("pydoc", tmp_path)
    assert first == second
    assert len(first.data) > 300_000
    assert first.data.count(b" the ") > 3_000
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()


def test_pydoc_is_the_same_text_in_another_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from arcfusion.core.data.corpus import load_corpus;"
        "print(load_corpus('pydoc', Path(sys.argv[1])).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == load_corpus("pydoc", tmp_path).sha256


def test_stdlib_is_whole_library_files_below_the_cap(tmp_path):
    corpus = load_corpus("stdlib", tmp_path)
    assert 1_000_000 < len(corpus.data) <= 2_001_000
    assert corpus.data.count(b"import ") > 500
    assert b"pytest" not in corpus.data[:200_000]
    assert corpus == load_corpus("stdlib", tmp_path)


def test_a_local_text_file_is_a_corpus(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text("Call me Ishmael. \u00e9")
    corpus = load_corpus(str(path), tmp_path)
    assert corpus.data == path.read_bytes()
    assert corpus.name == "novel.txt"


def test_an_unknown_name_says_what_is_allowed(tmp_path):
    with pytest.raises(
        UnknownCorpusError, match=r"'shakespeare'.*pydoc, stdlib, wikitext2"
    ) as info:
        load_corpus("shakespeare", tmp_path)
    assert info.value.exit_code == ExitCode.BAD_INPUT


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "holds no text"), (b" \n", "no text"), (b"a\xff", "not UTF-8")]
)
def test_a_file_without_text_is_refused(tmp_path, content, message):
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(NoTextError, match=message):
        load_corpus(str(path), tmp_path)


@pytest.mark.skipif(
    importlib.util.find_spec("datasets") is not None, reason="the extra is installed here"
)
def test_wikitext_without_the_extra_says_what_to_do_and_leaves_nothing(tmp_path):
    with pytest.raises(CorpusUnavailableError) as info:
        load_corpus("wikitext2", tmp_path)
    message = str(info.value)
    assert "pip install 'arcfusion[data]'" in message
    assert ".txt or .parquet" in message
    assert "pydoc" in message
    assert info.value.exit_code == ExitCode.UNAVAILABLE
    assert list(tmp_path.iterdir()) == []


class FakeDatasets:
    """Stands in for the package `datasets`."""

    def __init__(self, error=None):
        self.error = error
        self.n_downloads = 0

    def load_dataset(self, name, config, split):
        self.n_downloads += 1
        if self.error is not None:
            raise self.error
        assert (name, config, split) == ("Salesforce/wikitext", "wikitext-2-raw-v1", "train")
        return {"text": ["", " = Title = \n", " A sentence .\n"]}


def test_wikitext_is_downloaded_once_and_checked_afterwards(tmp_path, monkeypatch):
    fake = FakeDatasets()
    monkeypatch.setitem(sys.modules, "datasets", fake)
    assert not is_cached("wikitext2", tmp_path)
    first = load_corpus("wikitext2", tmp_path)
    assert first.data == b" = Title = \n A sentence .\n"
    assert is_cached("wikitext2", tmp_path)
    assert load_corpus("wikitext2", tmp_path) == first
    assert fake.n_downloads == 1
    cached = tmp_path / "corpora" / "wikitext2.txt"
    cached.write_bytes(cached.read_bytes() + b"x")
    with pytest.raises(CorpusUnavailableError, match=r"checksum.*delete both files"):
        load_corpus("wikitext2", tmp_path)


def test_a_failed_download_says_what_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", FakeDatasets(ConnectionError("no route")))
    with pytest.raises(CorpusUnavailableError, match=r"no route.*use the corpus 'pydoc'"):
        load_corpus("wikitext2", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_parquet_file_is_read_by_its_text_column_or_says_what_it_needs(tmp_path):
    path = tmp_path / "rows.parquet"
    if importlib.util.find_spec("pyarrow") is None:
        path.write_bytes(b"PAR1")
        with pytest.raises(CorpusUnavailableError, match=r"needs pyarrow.*arcfusion\[data\]"):
            load_corpus(str(path), tmp_path)
        return
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["one\n", None, "two\n"]}), path)
    assert load_corpus(str(path), tmp_path).data == b"one\ntwo\n"
    parquet.write_table(pyarrow.table({"body": ["one\n"]}), path)
    with pytest.raises(NoTextError, match="'text'"):
        load_corpus(str(path), tmp_path)


def test_the_data_modules_import_neither_torch_nor_third_parties_but_numpy():
    code = (
        "import sys; before = set(sys.modules); import arcfusion.core.data.dataset;"
        "import arcfusion.core.data.corpus; import arcfusion.core.metric;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'arcfusion', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_data_command_lists_and_fetches(tmp_path, monkeypatch):
    monkeypatch.delenv("ARCFUSION_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    store.create(new_home(tmp_path))
    runner, app = CliRunner(), build_app(data_command.app)
    listed = runner.invoke(app, ["list"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in SOURCES)
    fetched = runner.invoke(app, ["fetch", "pydoc", "--json"])
    assert load_corpus("pydoc", tmp_path).sha256 in fetched.output
    refused = runner.invoke(app, ["fetch", "nothing.txt"])
    assert isinstance(refused.exception, UnknownCorpusError)
