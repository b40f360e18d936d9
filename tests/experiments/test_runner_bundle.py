"""The run's directory: complete or absent, the same bytes each time, enough by itself."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from arcfusion.core.data.corpus import Corpus
from arcfusion.core.data.dataset import prepare
from arcfusion.core.data.tokenizer import ByteTokenizer
from arcfusion.core.sandbox.limits import Limits
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.training.checkpoint import checkpoint_name
from arcfusion.core.training.config import TrainingConfig
from arcfusion.experiments.launch import local
from arcfusion.experiments.runner import bundle, lock
from arcfusion.experiments.runner.bundle import ForeignRunError, create_run_directory
from arcfusion.experiments.runner.entry import main
from arcfusion.experiments.runner.record import read_status
from arcfusion.experiments.runner.request import RunFileError, RunRequest, read_request

MODEL = "def build(vocab_size, d_model, n_layers):\n    raise SystemExit\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    corpus = Corpus(
        name="text", data=b"some text " * 200, sha256="0" * 64, licence="none", description="text"
    )
    directory = tmp_path_factory.mktemp("data") / "prepared"
    return prepare(corpus, ByteTokenizer(), n_tracks=2, directory=directory)


@pytest.fixture
def request_():
    return RunRequest(
        run_id="run-1",
        model_name="mamba 1/attention!",
        vocab_size=256,
        d_model=None,
        n_layers=2,
        seed=3,
        training=TrainingConfig(steps=2, batch_size=2, context=8, lr_peak=1e-3),
        tier=Tier.GOOD,
        harness_version="1",
        limits=Limits(wall_s=9, cpu_s=9, memory_bytes=9, disk_bytes=9),
    )


def run_isolated(code, *arguments):
    """Run Python where numpy and torch can be imported and the installed arcfusion can not."""
    site = sysconfig.get_paths()["purelib"]
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({site!r})\n{code}",
         *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip


def test_a_directory_holds_what_the_run_needs(tmp_path, request_, prepared):
    run_dir = create_run_directory(tmp_path / "runs" / "run-1", request_, MODEL, prepared)
    names = {path.name for path in run_dir.iterdir()}
    assert names == {"run.json", "model.py", "arcfusion.zip", "train.bin", "validation.bin",
                     "meta.json", "work"}  # fmt: skip
    assert read_request(run_dir) == request_
    assert [path.name for path in run_dir.parent.iterdir()] == ["run-1"]


def test_making_it_again_changes_nothing_and_another_run_is_refused(tmp_path, request_, prepared):
    from dataclasses import replace

    run_dir = create_run_directory(tmp_path / "run", request_, MODEL, prepared)
    before = (run_dir / "run.json").stat().st_mtime_ns
    create_run_directory(run_dir, request_, MODEL, prepared)
    assert (run_dir / "run.json").stat().st_mtime_ns == before
    with pytest.raises(ForeignRunError, match="run-1"):
        create_run_directory(run_dir, replace(request_, seed=4), MODEL, prepared)
    with pytest.raises(ForeignRunError):
        create_run_directory(run_dir, request_, MODEL + "\n", prepared)


def test_a_failure_leaves_nothing_behind(tmp_path, request_, prepared, monkeypatch):
    def fail(path):
        raise OSError("disk full")

    monkeypatch.setattr(bundle, "write_archive", fail)
    with pytest.raises(OSError, match="disk full"):
        create_run_directory(tmp_path / "run", request_, MODEL, prepared)
    assert list(tmp_path.iterdir()) == []


def test_the_archive_is_the_same_bytes_each_time(tmp_path):
    for name in ("a.zip", "b.zip"):
        bundle.write_archive(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_archive_is_enough_where_the_package_is_not_installed(tmp_path):
    archive = tmp_path / "arcfusion.zip"
    bundle.write_archive(archive)
    assert run_isolated("import arcfusion").returncode == 1
    with zipfile.ZipFile(archive) as file:
        modules = [
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in file.namelist()
            if name != "__main__.py"
        ]
    code = (
        "sys.path.insert(0, sys.argv[1]); import importlib\n"
        "for name in sys.argv[2:]:\n"
        "    assert sys.argv[1] in importlib.import_module(name).__file__\n"
        "print('torch' in sys.modules)"
    )
    everything = run_isolated(code, archive, *modules)
    assert everything.stderr == ""
    trusted = run_isolated(code, archive, "arcfusion.experiments.runner.supervisor")
    assert trusted.stdout.strip() == "False"
    started = run_isolated("import runpy; runpy.run_path(sys.argv[1])", archive)
    assert "no run in" in started.stderr


def test_the_checkpoints_carry_a_name_that_files_can_have(request_):
    assert request_.checkpoint_label == "m-mamba_1_attention_"
    checkpoint_name(request_.checkpoint_label, None)


def test_a_request_that_is_damaged_is_refused(tmp_path, request_):
    with pytest.raises(RunFileError, match="no run in"):
        read_request(tmp_path)
    for text in ("{", "[]", "{}", request_.to_json().replace('"seed"', '"sead"')):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunFileError):
            read_request(tmp_path)


def test_the_lock_is_held_by_one_and_freed_by_its_end(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(bundle.package_root())!r})\n"
        "from arcfusion.experiments.runner import lock\n"
        "print(lock.try_lock(Path(sys.argv[1])), flush=True); sys.stdin.read()"
    )
    assert not local.is_alive(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-I", "-c", code, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline().strip() != b"None"
    assert local.is_alive(tmp_path)
    assert lock.try_lock(tmp_path) is None
    holder.kill()
    holder.communicate()
    assert not local.is_alive(tmp_path)


def test_the_entry_refuses_what_it_does_not_know(capsys, tmp_path):
    assert main([]) == 2
    assert main(["--what", "x"]) == 2
    assert "usage" in capsys.readouterr().err
    assert main([str(tmp_path / "none")]) == 2
    assert "no run in" in capsys.readouterr().err


def test_launching_what_is_no_run_says_so(tmp_path):
    with pytest.raises(local.RunDirectoryNotFoundError, match="no run in"):
        local.launch(tmp_path)
    assert local.read_result(tmp_path) is None
    assert read_status(tmp_path) is None
    assert Path(tmp_path).is_dir()
