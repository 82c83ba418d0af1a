"""What the synchronisation with Salesforce keeps."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns and tables; give `phones` another order, and one index in place of two."""
    _rebuild_phones()
    op.add_column(
        "contacts", sa.Column("blacklisted", sa.Boolean(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("contacts", sa.Column("flag_sent_at", Id, server_default=sa.text("0"), nullable=False))
    op.add_column("outbox", sa.Column("ref", sa.Text(), nullable=True))
    op.add_column("outbox", sa.Column("parked", sa.Boolean(), server_default=sa.text("0"), nullable=False))
    op.create_index("outbox_contact", "outbox", ["contact_id"])
    op.create_index("outbox_ref", "outbox", ["ref"], unique=True)
    op.create_table(
        "contact_aliases",
        sa.Column("id", Id, autoincrement=False, nullable=False),
        sa.Column("contact_id", Id, nullable=False),
        sa.Column("salesforce_id", sa.Text(), nullable=True),
        sa.Column("database", sa.Text(), server_default="", nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("database", "key"),
        sa.UniqueConstraint("salesforce_id"),
    )
    op.create_index("contact_aliases_contact", "contact_aliases", ["contact_id"])
    op.create_table(
        "salesforce_state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", Id, server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "sync_seen",
        sa.Column("salesforce_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("salesforce_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "flagged_numbers",
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("contact_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pattern", "contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("flagged_numbers_contact", "flagged_numbers", ["contact_id"])
    op.create_table(
        "unread_numbers",
        sa.Column("salesforce_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("salesforce_id", "field"),
        sqlite_with_rowid=False,
    )


def _rebuild_phones() -> None:
    op.execute("ALTER TABLE phones RENAME TO old_phones")
    op.create_table(
        "phones",
        sa.Column("contact_id", Id, nullable=False),
        sa.Column("number", Id, nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("typed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("contact_id", "number"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO phones (contact_id, number, label, typed) "
        "SELECT contact_id, number, label, typed FROM old_phones ORDER BY 1, 2"
    )
    op.drop_table("old_phones")
    op.create_index("phones_number", "phones", [sa.text("number % 1000000"), "number"])
