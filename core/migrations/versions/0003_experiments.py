"""The tables of experiments/."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    _create_runs()
    _create_evidence()
    _create_findings()
    _create_hypotheses()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False)


def _optional_text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=True)


def _number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=False)


def _optional_number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=True)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _optional_count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=True)


def _index(table: str, *columns: str) -> None:
    for column in columns:
        op.create_index(f"ix_{table}_{column}", table, [column])


def _create_runs() -> None:
    op.create_table(
        "protocol",
        _text("key"),
        _text("name"),
        _text("description"),
        _text("document"),
        _text("data"),
        _text("data_sha256"),
        _text("device_class"),
        _text("harness_version"),
        _optional_text("baseline_fingerprint"),
        _number("created_at"),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "run",
        _text("id"),
        _text("name"),
        _text("fingerprint"),
        _text("protocol_key"),
        _count("seed"),
        _count("replica"),
        _text("state"),
        _count("fence"),
        _optional_text("outcome"),
        _optional_text("reason"),
        _optional_text("architecture_id"),
        _optional_text("issue_id"),
        _optional_text("directory"),
        _optional_count("parameters"),
        _optional_number("flops_per_token"),
        _optional_count("state_bytes"),
        _optional_count("kv_bytes"),
        _optional_text("code_sha256"),
        _optional_text("weights_sha256"),
        _optional_text("sandbox_tier"),
        _optional_text("device"),
        _optional_text("torch_version"),
        _text("harness_version"),
        _optional_text("commit"),
        _number("created_at"),
        _optional_number("started_at"),
        _optional_number("ended_at"),
        sa.ForeignKeyConstraint(["protocol_key"], ["protocol.key"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "fingerprint", "protocol_key", "seed", "replica", name="uq_run_identity"
        ),
    )
    _index("run", "fingerprint", "protocol_key", "architecture_id", "issue_id")
    op.create_table(
        "metric",
        _text("run_id"),
        _text("name"),
        _number("value"),
        _text("unit"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("run_id", "name"),
    )


def _create_evidence() -> None:
    op.create_table(
        "gate_record",
        _text("fingerprint"),
        _text("name"),
        _text("harness_version"),
        _text("outcome"),
        _optional_number("figure"),
        _text("unit"),
        _optional_number("limit"),
        _text("detail"),
        _number("created_at"),
        sa.PrimaryKeyConstraint("fingerprint", "name", "harness_version"),
    )
    op.create_table(
        "artifact",
        _text("id"),
        _text("kind"),
        _text("path"),
        _text("sha256"),
        _count("size_bytes"),
        _optional_text("run_id"),
        _optional_text("issue_id"),
        _number("created_at"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("artifact", "run_id", "issue_id")


def _create_findings() -> None:
    op.create_table(
        "comparison",
        _text("id"),
        _text("protocol_key"),
        _text("baseline_fingerprint"),
        _text("candidate_fingerprint"),
        _text("baseline_run_ids"),
        _text("candidate_run_ids"),
        _text("seeds"),
        _count("n"),
        _number("confidence"),
        _number("mean_difference"),
        _optional_number("low"),
        _optional_number("high"),
        _text("verdict"),
        _text("reason"),
        _optional_text("issue_id"),
        _number("created_at"),
        sa.ForeignKeyConstraint(["protocol_key"], ["protocol.key"]),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("comparison", "protocol_key", "issue_id")
    op.create_table(
        "insight",
        _text("id"),
        _text("claim"),
        _text("status"),
        _text("protocol_key"),
        _text("scope"),
        _text("baseline_fingerprint"),
        _text("candidate_fingerprint"),
        _text("verdict"),
        _number("effect"),
        _number("low"),
        _number("high"),
        _number("confidence"),
        _count("n_seeds"),
        _text("seeds"),
        _text("run_ids"),
        _text("related"),
        _text("comparison_id"),
        _optional_text("issue_id"),
        _number("created_at"),
        _number("updated_at"),
        sa.ForeignKeyConstraint(["protocol_key"], ["protocol.key"]),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("insight", "status", "protocol_key", "issue_id")


def _create_hypotheses() -> None:
    op.create_table(
        "hypothesis",
        _text("id"),
        _text("kind"),
        _text("statement"),
        _text("status"),
        _text("protocol_key"),
        _text("reference_fingerprint"),
        _text("change"),
        _optional_text("spec"),
        _optional_text("candidate_fingerprint"),
        _text("predicted_verdict"),
        _number("predicted_low"),
        _number("predicted_high"),
        _text("seeds"),
        _number("cost_s"),
        _text("kill_criterion"),
        _number("priority"),
        _optional_count("is_covered"),
        _optional_text("comparison_id"),
        _optional_text("issue_id"),
        _number("created_at"),
        _optional_number("settled_at"),
        sa.ForeignKeyConstraint(["protocol_key"], ["protocol.key"]),
        sa.ForeignKeyConstraint(["comparison_id"], ["comparison.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("hypothesis", "status", "protocol_key", "issue_id")
