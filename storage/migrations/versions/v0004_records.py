"""What following calls, writing them to Salesforce and dialling by a click keep."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what a call's record has besides its decision, agents' states, Tasks, chats and calls made by a click."""
    _calls()
    for table, column in (
        ("contacts", sa.Column("do_not_call", sa.Boolean(), server_default=sa.text("0"), nullable=False)),
        ("agents", sa.Column("pop", sa.Text(), server_default="ringing", nullable=False)),
        ("users", sa.Column("extension", sa.Text(), server_default="", nullable=False)),
        ("outbox", sa.Column("key", sa.Text())),
    ):
        op.add_column(table, column)
    op.create_index("outbox_key", "outbox", ["key"], sqlite_where=sa.text("key IS NOT NULL"))
    op.create_index("contacts_made", "contacts", ["created_at"], sqlite_where=sa.text("source = 'insert'"))
    _states()
    _journal()


def _calls() -> None:
    for column in (
        sa.Column("pbx", sa.Text(), server_default="", nullable=False),
        sa.Column("linkedid", sa.Text(), server_default="", nullable=False),
        sa.Column("answered_at", Id),
        sa.Column("queue", sa.Text(), server_default="", nullable=False),
        sa.Column("recording", sa.Text(), server_default="", nullable=False),
        sa.Column("legs", sa.JSON()),
        sa.Column("transfers", sa.JSON()),
        sa.Column("told_by", sa.Text(), server_default="", nullable=False),
        sa.Column("part_of", sa.Text(), server_default="", nullable=False),
        sa.Column("marks", sa.Text(), server_default="", nullable=False),
    ):
        op.add_column("calls", column)
    op.create_table(
        "call_channels",
        sa.Column("uniqueid", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["call_id"], ["calls.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("uniqueid", "call_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("call_channels_call", "call_channels", ["call_id"])
    op.create_index("calls_part_of", "calls", ["part_of"], sqlite_where=sa.text("part_of <> ''"))
    op.create_index("calls_linkedid", "calls", ["linkedid"], sqlite_where=sa.text("linkedid <> ''"))
    op.create_index("calls_open", "calls", ["started_at"], sqlite_where=sa.text("ended_at IS NULL"))


def _states() -> None:
    op.create_table(
        "agent_states",
        sa.Column("extension", sa.Text(), nullable=False),
        sa.Column("pbx", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("changed_at", Id, nullable=False),
        sa.PrimaryKeyConstraint("extension", "pbx"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "pbx_states",
        sa.Column("pbx", sa.Text(), nullable=False),
        sa.Column("seen_at", Id, nullable=False),
        sa.PrimaryKeyConstraint("pbx"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "live_calls",
        sa.Column("pbx", sa.Text(), nullable=False),
        sa.Column("linkedid", sa.Text(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pbx", "linkedid"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "positions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )


def _journal() -> None:
    op.create_table(
        "tasks",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("salesforce_id", sa.Text(), nullable=False),
        sa.Column("closed", sa.Boolean(), server_default=sa.text("1"), nullable=False),
        sa.Column("made_at", Id, nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("salesforce_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chats",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), server_default="chat", nullable=False),
        sa.Column("direction", sa.Text(), server_default="inbound", nullable=False),
        sa.Column("started_at", Id, nullable=False),
        sa.Column("ended_at", Id, nullable=False),
        sa.Column("number", Id),
        sa.Column("number_text", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("did", sa.Text(), server_default="", nullable=False),
        sa.Column("queue", sa.Text(), server_default="", nullable=False),
        sa.Column("agent", sa.Text(), server_default="", nullable=False),
        sa.Column("contact_id", Id),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("chats_contact", "chats", ["contact_id"], sqlite_where=sa.text("contact_id IS NOT NULL"))
    op.create_index("chats_started", "chats", ["started_at"])
    op.create_index(
        "chats_number", "chats", ["number", "ended_at"], sqlite_where=sa.text("number IS NOT NULL")
    )
    op.create_table(
        "dials",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("number", Id),
        sa.Column("number_text", sa.Text(), nullable=False),
        sa.Column("contact_id", Id),
        sa.Column("asked_at", Id, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("changed_at", Id, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("pbx", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("dials_agent", "dials", ["agent", "asked_at"])
