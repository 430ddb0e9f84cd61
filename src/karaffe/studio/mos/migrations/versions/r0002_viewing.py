"""Each answer says how its pictures stood on the screen; answers from before say nothing of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("answers", sa.Column("device_pixel_ratio", sa.Double))
    op.add_column("answers", sa.Column("exact_pixels", sa.Boolean))
    op.add_column("answers", sa.Column("screen", sa.Text))
    op.create_index("assignments_by_trial", "assignments", ["trial_id"])
