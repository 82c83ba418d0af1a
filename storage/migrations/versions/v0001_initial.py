"""The first tables.

The triggers count changes of the small tables in `revisions`, so that a reader compiles anew when it must
and only then. Hits are counted in the blacklist after every blocked call; that is no change.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

COUNTED = {
    "blacklist": " OF kind, pattern, allow, did, treatment, target, reason, expires_at",
    "agents": "",
    "dids": "",
    "settings": "",
}


def upgrade() -> None:
    """Make everything."""
    _create_tables()
    for table, columns in COUNTED.items():
        op.execute(f"INSERT INTO revisions (name, value) VALUES ('{table}', 0)")  # noqa: S608  # our own constants
        for what, when in (("insert", "INSERT"), ("update", f"UPDATE{columns}"), ("delete", "DELETE")):
            op.execute(
                f"CREATE TRIGGER {table}_{what} AFTER {when} ON {table} BEGIN "  # noqa: S608  # likewise
                f"UPDATE revisions SET value = value + 1 WHERE name = '{table}'; END"
            )


def _create_tables() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", Id, nullable=False),
        sa.Column("salesforce_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("salesforce_id"),
    )
    op.create_index("accounts_name", "accounts", ["name"])
    op.create_table(
        "agents",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("extension", sa.Text(), nullable=False),
        sa.Column("salesforce_user_id", sa.Text(), nullable=True),
        sa.Column("hours", sa.Text(), server_default="", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="", nullable=False),
        sa.Column("absent_until", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("delegate_id", Id, nullable=True),
        sa.Column("ring_seconds", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("fallback", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["delegate_id"], ["agents.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
        sa.UniqueConstraint("extension"),
        sa.UniqueConstraint("salesforce_user_id"),
    )
    op.create_table(
        "audit",
        sa.Column("id", Id, nullable=False),
        sa.Column("at", Id, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "blacklist",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), server_default="", nullable=False),
        sa.Column("allow", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("did", sa.Text(), server_default="", nullable=False),
        sa.Column("treatment", sa.Text(), server_default="hangup", nullable=False),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("expires_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("hits", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("last_hit_at", Id, server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("kind IN ('exact', 'prefix', 'regex', 'country', 'anonymous')", name="kind"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "pattern", "did", "allow"),
    )
    op.create_table(
        "calls",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("uniqueid", sa.Text(), server_default="", nullable=False),
        sa.Column("direction", sa.Text(), server_default="inbound", nullable=False),
        sa.Column("started_at", Id, nullable=False),
        sa.Column("ended_at", Id, nullable=True),
        sa.Column("number", Id, nullable=True),
        sa.Column("number_text", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("did", sa.Text(), server_default="", nullable=False),
        sa.Column("trunk", sa.Text(), server_default="", nullable=False),
        sa.Column("contact_id", Id, nullable=True),
        sa.Column("rung", sa.Text(), server_default="none", nullable=False),
        sa.Column("verdict", sa.Text(), server_default="allow", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("rule_id", Id, nullable=True),
        sa.Column("routed_to", sa.Text(), server_default="", nullable=False),
        sa.Column("answered_by", sa.Text(), server_default="", nullable=False),
        sa.Column("disposition", sa.Text(), server_default="", nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=True),
        sa.Column("trace", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "calls_last_agent", "calls", ["number", "started_at"], sqlite_where=sa.text("answered_by <> ''")
    )
    op.create_index("calls_started", "calls", ["started_at"])
    op.create_index("calls_uniqueid", "calls", ["uniqueid"])
    op.create_table(
        "dids",
        sa.Column("id", Id, nullable=False),
        sa.Column("did", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("region", sa.Text(), nullable=True),
        sa.Column("identify", sa.Boolean(), nullable=True),
        sa.Column("naming", sa.Boolean(), nullable=True),
        sa.Column("screening", sa.Boolean(), nullable=True),
        sa.Column("routing", sa.Boolean(), nullable=True),
        sa.Column("create_contacts", sa.Boolean(), nullable=True),
        sa.Column("template", sa.Text(), nullable=True),
        sa.Column("default_agent", sa.Text(), nullable=True),
        sa.Column("ring_seconds", sa.Integer(), nullable=True),
        sa.Column("fallback", sa.Text(), nullable=True),
        sa.Column("last_agent_minutes", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("did"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("contact_id", Id, nullable=True),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "owners",
        sa.Column("id", Id, nullable=False),
        sa.Column("salesforce_id", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("salesforce_id"),
    )
    op.create_index("owners_email", "owners", ["email"])
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", Id, server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("changed_by", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "users",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="viewer", nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "contacts",
        sa.Column("id", Id, nullable=False),
        sa.Column("salesforce_id", sa.Text(), nullable=True),
        sa.Column("database", sa.Text(), server_default="", nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), server_default="Contact", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("first_name", sa.Text(), server_default="", nullable=False),
        sa.Column("last_name", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), server_default="", nullable=False),
        sa.Column("account_id", Id, nullable=True),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("vip", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.Column("active_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("source", sa.Text(), server_default="import", nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("kind IN ('Contact', 'Account', 'Lead', 'Opportunity')", name="kind"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["owners.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("database", "key"),
        sa.UniqueConstraint("salesforce_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "contacts_name", "contacts", ["name"], sqlite_where=sa.text("salesforce_id IS NULL AND key IS NULL")
    )
    op.create_table(
        "local_phones",
        sa.Column("digits", sa.Text(), nullable=False),
        sa.Column("contact_id", Id, nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("tail", Id, nullable=False),
        sa.Column("typed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digits", "contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("local_phones_contact", "local_phones", ["contact_id"])
    op.create_index("local_phones_tail", "local_phones", ["tail"])
    op.create_table(
        "phones",
        sa.Column("number", Id, nullable=False),
        sa.Column("contact_id", Id, nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("typed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", "contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("phones_contact", "phones", ["contact_id"])
    op.create_index("phones_tail", "phones", [sa.text("number % 1000000")])
    op.create_table(
        "switchboards",
        sa.Column("prefix", Id, nullable=False),
        sa.Column("contact_id", Id, nullable=False),
        sa.Column("main", Id, nullable=False),
        sa.Column("explicit", sa.Boolean(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contacts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("prefix", "contact_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("switchboards_contact", "switchboards", ["contact_id"])
