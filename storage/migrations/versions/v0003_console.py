"""What the console and the API keep."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables of log-ins and tokens, the indexes of the call history, and the search of contacts."""
    _indexes()
    _log_ins()
    op.create_table(
        "replies",
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("who", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("replies_created", "replies", ["created_at"])
    _search()


def _indexes() -> None:
    op.create_index(
        "calls_number", "calls", ["number", "started_at"], sqlite_where=sa.text("number IS NOT NULL")
    )
    op.create_index(
        "calls_contact",
        "calls",
        ["contact_id", "started_at"],
        sqlite_where=sa.text("contact_id IS NOT NULL"),
    )


def _log_ins() -> None:
    op.create_table(
        "invitations",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("expires_at", Id, nullable=False),
        sa.PrimaryKeyConstraint("hash"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sessions",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("seen_at", Id, nullable=False),
        sa.Column("agent", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash"),
        sqlite_with_rowid=False,
    )
    op.create_index("sessions_user", "sessions", ["user_id"])
    op.create_table(
        "tokens",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("created_by", sa.Text(), server_default="", nullable=False),
        sa.Column("expires_at", Id, server_default=sa.text("0"), nullable=False),
        sa.Column("used_at", Id, server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )


# Letters that the tokenizer unicode61 takes for letters of their own, with what people type for them. As SQL has it:
# its lower() knows ASCII only, so there are capitals too.
_FOLDS = (
    ("ß", "ss"), ("ẞ", "ss"), ("æ", "ae"), ("Æ", "ae"), ("œ", "oe"), ("Œ", "oe"), ("ø", "o"), ("Ø", "o"),
    ("ł", "l"), ("Ł", "l"), ("đ", "d"), ("Đ", "d"), ("ð", "d"), ("Ð", "d"), ("þ", "th"), ("Þ", "th"),
    ("ħ", "h"), ("Ħ", "h"), ("ŧ", "t"), ("Ŧ", "t"), ("ı", "i"),
)  # fmt: skip

_WORDED = ("name", "first_name", "last_name", "email", "account_id", "key")  # columns that words are made of


def _search() -> None:
    """Keep the words of contacts in a full-text index, whoever writes to `contacts` or renames an account.

    The words end with a private character (U+E000) and the account's id: by that the contacts of an account are
    found when it gets another name, without an index on `contacts.account_id`. With `detail=none` the index knows
    which contacts have a word and nothing else. The table has a copy of the words, so that what it deletes is
    what it once stored, whatever became of the account meanwhile.
    """
    op.execute(
        "CREATE VIRTUAL TABLE contact_search USING fts5(words, detail=none, columnsize=0, "
        "prefix='2 3 4 5 6 7 8', tokenize='unicode61 remove_diacritics 2')"
    )
    # Small pages: the index merges so many of them at once, in somebody's transaction.
    op.execute("INSERT INTO contact_search (contact_search, rank) VALUES ('pgsz', 1000)")
    store = "INSERT INTO contact_search (rowid, words)"
    words = _words("new")
    account = "MATCH '\"' || char(57344) || new.id || '\"'"
    found = f"WHERE rowid IN (SELECT rowid FROM contact_search WHERE contact_search {account})"  # noqa: S608  # constants
    again = f"SELECT {_words('c')} FROM contacts c WHERE c.id = contact_search.rowid"  # noqa: S608  # likewise
    differs = " OR ".join(f"old.{name} IS NOT new.{name}" for name in _WORDED)
    op.execute(f"{store} SELECT c.id, {_words('c')} FROM contacts c ORDER BY 1")  # noqa: S608  # likewise
    for name, when, change in (
        ("contacts_search_insert", "INSERT ON contacts", f"{store} VALUES (new.id, {words})"),
        ("contacts_search_delete", "DELETE ON contacts", "DELETE FROM contact_search WHERE rowid = old.id"),
        (
            "contacts_search_update",
            f"UPDATE OF {', '.join(_WORDED)} ON contacts WHEN {differs}",
            f"UPDATE contact_search SET words = {words} WHERE rowid = new.id",  # noqa: S608  # likewise
        ),
        (
            "accounts_search_update",
            "UPDATE OF name ON accounts WHEN old.name IS NOT new.name",
            f"UPDATE contact_search SET words = ({again}) {found}",  # noqa: S608  # likewise
        ),
    ):
        op.execute(f"CREATE TRIGGER {name} AFTER {when} BEGIN {change}; END")


def _words(contact: str) -> str:
    """Return the SQL of a contact's words."""
    parts = f"{contact}.first_name || ' ' || {contact}.last_name"
    columns = (
        f"CASE WHEN {contact}.name = {parts} THEN '' ELSE {contact}.name END",
        parts,
        f"{contact}.email",
        f"ifnull((SELECT a.name FROM accounts a WHERE a.id = {contact}.account_id), '')",  # noqa: S608  # likewise
        f"ifnull({contact}.key, '')",
    )
    words = " || ' ' || ".join(columns)
    for letter, typed in _FOLDS:
        words = f"replace({words}, '{letter}', '{typed}')"
    return f"{words} || ' ' || char(57344) || ifnull({contact}.account_id, '')"
