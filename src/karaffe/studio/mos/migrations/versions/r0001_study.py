"""A study, its pictures and trials, its raters and their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "study",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.CheckConstraint("id = 1", name="one_study"),
    )
    _stimuli()
    op.create_table(
        "raters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("code", sa.String(16), nullable=False, unique=True),
        sa.Column("link_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("consented_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("completion_code", sa.String(32)),
    )
    _answers()


def _stimuli() -> None:
    op.create_table(
        "pictures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("png", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "stimuli",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("content", sa.String(255), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("picture_id", sa.Integer, sa.ForeignKey("pictures.id"), nullable=False),
        sa.UniqueConstraint("content", "method", name="one_picture_a_method"),
    )
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("first_id", sa.Integer, sa.ForeignKey("stimuli.id"), nullable=False),
        sa.Column("second_id", sa.Integer, sa.ForeignKey("stimuli.id")),
        sa.Column("expected", sa.JSON),
    )


def _answers() -> None:
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rater_id", sa.Integer, sa.ForeignKey("raters.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("trial_id", sa.Integer, sa.ForeignKey("trials.id"), nullable=False),
        sa.Column("swapped", sa.Boolean, nullable=False),
        sa.Column("repeat", sa.Boolean, nullable=False),
        sa.UniqueConstraint("rater_id", "position", name="one_trial_a_place"),
    )
    op.create_table(
        "answers",
        sa.Column("assignment_id", sa.Integer, sa.ForeignKey("assignments.id"), primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("answered_at", _MOMENT, nullable=False),
        sa.Column("elapsed_ms", sa.Integer, nullable=False),
    )
