"""The tables of core/."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    _create_library()
    _create_architectures()


def _create_library() -> None:
    op.create_table(
        "paper",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("citation", sa.String(), nullable=False),
        sa.Column("arxiv_id", sa.String()),
        sa.Column("year", sa.Integer(), nullable=False),
    )
    op.create_table(
        "component",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("input_port", sa.String(), nullable=False),
        sa.Column("output_port", sa.String(), nullable=False),
        sa.Column("options", sa.String(), nullable=False),
        sa.Column("factory", sa.String(), nullable=False),
        sa.Column("paper_id", sa.String(), sa.ForeignKey("paper.id"), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("time_complexity", sa.String(), nullable=False),
        sa.Column("space_complexity", sa.String(), nullable=False),
        sa.Column("causal", sa.Integer(), nullable=False),
        sa.Column("stateful", sa.Integer(), nullable=False),
    )
    op.create_index("ix_component_category", "component", ["category"])
    op.create_table(
        "component_relation",
        sa.Column("first", sa.String(), sa.ForeignKey("component.name"), primary_key=True),
        sa.Column("second", sa.String(), sa.ForeignKey("component.name"), primary_key=True),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("evidence", sa.String(), nullable=False),
    )


def _create_architectures() -> None:
    op.create_table(
        "architecture",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("spec", sa.String()),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("code_sha256", sa.String()),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    op.create_index("ix_architecture_fingerprint", "architecture", ["fingerprint"])
    op.create_table(
        "recipe",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("architecture_id", sa.String(), sa.ForeignKey("architecture.id"), nullable=False),
        sa.Column("strategy", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("parents", sa.String(), nullable=False),
        sa.Column("reasoning", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("issue_id", sa.String()),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    op.create_index("ix_recipe_architecture_id", "recipe", ["architecture_id"])
    op.create_index("ix_recipe_issue_id", "recipe", ["issue_id"])
    op.create_table(
        "adjustment",
        sa.Column("recipe_id", sa.String(), sa.ForeignKey("recipe.id"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("original", sa.String(), nullable=False),
        sa.Column("adjusted", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("component", sa.String()),
    )
