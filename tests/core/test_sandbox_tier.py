"""What a confinement refuses, and that the self-test tells a strong one from a weak one."""

import os
import sys

import pytest

from arcfusion.core.sandbox import tier as tiers
from arcfusion.core.sandbox.launcher import spawn_confined
from arcfusion.core.sandbox.limits import MEBIBYTE, BadLimitsError, Limits
from arcfusion.core.sandbox.strength import Tier
from arcfusion.core.sandbox.tier import (
    ProbeResult,
    SandboxTooWeakError,
    TierReport,
    detect_tier,
    require_tier,
    run_self_test,
)
from arcfusion.core.sandbox.watchdog import supervise

LIMITS = Limits(wall_s=20, cpu_s=10, memory_bytes=256 * MEBIBYTE, disk_bytes=8 * MEBIBYTE)


@pytest.fixture
def confine(tmp_path):
    """Run Python code confined in a fresh directory and return its status and output."""
    if detect_tier().tier < Tier.GOOD:
        pytest.skip(f"no confinement here: {detect_tier().reason}")
    work = tmp_path / "work"
    work.mkdir()

    def run(code, *, readable=(), **options):
        log = tmp_path / "log"
        confined = spawn_confined(
            [sys.executable, "-I", "-S", "-c", code],
            workdir=work,
            readable=readable,
            writable=[work],
            limits=LIMITS,
            tier=Tier.GOOD,
            output_path=log,
            **options,
        )
        ending = supervise(confined, interval_s=0.02)
        return ending.returncode, log.read_text()

    return run


def test_tiers_are_ordered_by_strength():
    assert Tier.NONE < Tier.WEAK < Tier.GOOD
    assert Tier.WEAK >= "none"
    assert max([Tier.WEAK, Tier.GOOD, Tier.NONE]) == Tier.GOOD


def test_where_the_tier_is_good_every_escape_is_denied():
    report = detect_tier()
    if report.tier < Tier.GOOD:
        pytest.skip(f"no confinement here: {report.reason}")
    assert len(report.probes) >= 24
    assert [probe.name for probe in report.probes if not probe.denied] == []


def test_the_self_test_finds_the_holes_of_a_weak_confinement():
    if sys.platform != "linux":
        pytest.skip("the probes are Linux system calls")
    probes, _ = run_self_test(Tier.WEAK)
    open_holes = {probe.name for probe in probes if not probe.denied}
    assert {"read_outside", "write_outside", "tcp_loopback", "unix_socket", "fork"} <= open_holes


def test_one_probe_that_gets_out_makes_the_tier_weak(monkeypatch):
    leaky = ProbeResult(name="read_outside", denied=False, detail="it worked")
    monkeypatch.setattr(tiers, "_find_missing", lambda: None)
    monkeypatch.setattr(tiers, "run_self_test", lambda tier: ((leaky,), ""))
    report = detect_tier.__wrapped__()
    assert report.tier == Tier.WEAK
    assert "read_outside" in report.reason


def test_a_confinement_in_which_nothing_works_is_not_good(monkeypatch):
    denied = ProbeResult(name="read_outside", denied=True, detail="denied")
    monkeypatch.setattr(tiers, "_find_missing", lambda: None)
    monkeypatch.setattr(
        tiers, "run_self_test", lambda tier: ((denied,), "start_thread does not work")
    )
    assert detect_tier.__wrapped__().tier == Tier.WEAK


def test_a_machine_that_is_too_weak_is_refused_with_what_to_do(monkeypatch):
    weak = TierReport(tier=Tier.WEAK, probes=(), reason="Landlock: not in this kernel")
    monkeypatch.setattr(tiers, "detect_tier", lambda: weak)
    with pytest.raises(SandboxTooWeakError) as caught:
        require_tier(Tier.GOOD)
    message = str(caught.value)
    assert "good required, weak available (Landlock: not in this kernel)" in message
    assert "--sandbox=weak" in message
    assert require_tier(Tier.WEAK) == weak


def test_nothing_outside_is_readable_unless_it_is_listed(confine, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    secret.chmod(0o644)
    code = f"print(open({str(secret)!r}).read())"
    status, output = confine(code)
    assert status == 1
    assert "PermissionError" in output
    assert "the secret" not in output
    status, output = confine(code, readable=[secret])
    assert status == 0
    assert "the secret" in output


def test_a_listed_file_can_not_be_changed(confine, tmp_path):
    data = tmp_path / "data"
    data.write_text("data")
    data.chmod(0o666)
    code = f"open({str(data)!r}, 'r+').write('x')"
    assert confine(code, readable=[data])[0] == 1
    assert data.read_text() == "data"


def test_the_environment_and_descriptors_of_the_parent_stay_outside(confine, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    code = f"import os; print(sorted(os.environ)); os.write({write_end}, b'out')"
    status, output = confine(code, env={"GIVEN": "1"})
    os.close(read_end)
    os.close(write_end)
    assert status == 1
    assert "Bad file descriptor" in output
    assert "GIVEN" in output
    assert "ANTHROPIC" not in output


def test_root_becomes_an_unprivileged_user(confine):
    if os.getuid() != 0:
        pytest.skip("not root")
    code = "import os; print(os.getuid(), os.getgid(), os.getgroups())"
    assert confine(code)[1].strip() == "65534 65534 []"


def test_no_link_or_special_file_is_left_for_the_collector(confine):
    code = (
        "import os\n"
        "for make in (lambda: os.symlink('/etc/passwd', 'a'), lambda: os.mkfifo('b'),\n"
        "             lambda: os.link('f', 'c'), lambda: os.mknod('d')):\n"
        "    open('f', 'w').close()\n"
        "    try: make(); print('made')\n"
        "    except PermissionError: print('refused')\n"
    )
    assert confine(code)[1].split() == ["refused"] * 4


def test_a_program_that_is_not_the_interpreter_can_not_be_executed(confine):
    status, output = confine("import os; os.execv('/bin/sh', ['sh', '-c', 'echo out'])")
    assert status == 1
    assert "PermissionError" in output


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), True, "many"])
def test_a_limit_that_is_no_positive_number_is_refused(bad):
    with pytest.raises(BadLimitsError, match="wall_s"):
        Limits(wall_s=bad, cpu_s=1, memory_bytes=1, disk_bytes=1)


def test_limits_survive_json_and_refuse_unknown_fields():
    assert Limits.from_dict(LIMITS.to_dict()) == LIMITS
    with pytest.raises(BadLimitsError, match="wal_s"):
        Limits.from_dict(LIMITS.to_dict() | {"wal_s": 3})
