"""The tables, as SQLAlchemy Core sees them; `migrations/` holds how they came to be.

Times are whole seconds since 1970 (UTC). E.164 numbers are integers of their digits: no country code begins
with a zero, so nothing is lost and a million of them stay small. `id` columns that leave the house
(contacts) are never used twice.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# The full-text index of contacts, with tables of SQLite's own behind it: made, and kept by triggers, in version 0003.
SEARCH: Final = "contact_search"

# SQLite's INTEGER is 64 bits and the only type that may be a row id; PostgreSQL's must be told.
Id = BigInteger().with_variant(Integer, "sqlite")


def _now() -> Column[int]:
    return Column("created_at", Id, nullable=False, server_default=text("0"))


accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("salesforce_id", Text, unique=True),
    Column("name", Text, nullable=False, server_default=""),
)
Index("accounts_name", accounts.c.name)

owners = Table(  # Salesforce Users (and queues) that own records
    "owners",
    metadata,
    Column("id", Id, primary_key=True),
    Column("salesforce_id", Text, unique=True),
    Column("email", Text, nullable=False, server_default=""),  # lower case
    Column("name", Text, nullable=False, server_default=""),
)
Index("owners_email", owners.c.email)

contacts = Table(
    "contacts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("salesforce_id", Text, unique=True),
    Column("database", Text, nullable=False, server_default=""),  # `iddatabase` of the insert look-up
    Column("key", Text),  # `data` of the insert look-up
    Column("kind", Text, nullable=False, server_default="Contact"),
    Column("name", Text, nullable=False, server_default=""),
    Column("first_name", Text, nullable=False, server_default=""),
    Column("last_name", Text, nullable=False, server_default=""),
    Column("email", Text, nullable=False, server_default=""),
    Column("account_id", Id, ForeignKey("accounts.id")),
    Column("owner_id", Id, ForeignKey("owners.id")),
    Column("vip", Boolean, nullable=False, server_default=text("0")),
    Column("active_at", Id, nullable=False, server_default=text("0")),
    Column("source", Text, nullable=False, server_default="import"),  # import | insert | salesforce
    _now(),
    Column("blacklisted", Boolean, nullable=False, server_default=text("0")),  # as Salesforce has it
    Column("flag_sent_at", Id, nullable=False, server_default=text("0")),  # when we told it so
    Column("do_not_call", Boolean, nullable=False, server_default=text("0")),
    UniqueConstraint("database", "key"),
    CheckConstraint("kind IN ('Contact', 'Account', 'Lead', 'Opportunity')", name="kind"),
    sqlite_autoincrement=True,
)
Index(  # so that a file without ids may be imported twice
    "contacts_name", contacts.c.name, sqlite_where=text("salesforce_id IS NULL AND key IS NULL")
)
Index("contacts_made", contacts.c.created_at, sqlite_where=text("source = 'insert'"))  # of callers

contact_aliases = Table(  # contacts that became one with another: what was given out goes on to work
    "contact_aliases",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("contact_id", Id, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    Column("salesforce_id", Text, unique=True),  # what it was known by; an id or key that two of them had
    Column("database", Text, nullable=False, server_default=""),  # stays with the first
    Column("key", Text),
    UniqueConstraint("database", "key"),
)
Index("contact_aliases_contact", contact_aliases.c.contact_id)

phones = Table(  # numbers whose country is known
    "phones",
    metadata,
    Column("contact_id", Id, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    Column("number", Id, nullable=False),  # E.164 digits
    Column("label", Text, nullable=False, server_default=""),  # Phone, MobilePhone, …
    Column("typed", Text),  # the field's text where it is not the plain E.164
    PrimaryKeyConstraint("contact_id", "number"),
    sqlite_with_rowid=False,
)
# One index for whole numbers and for their last six digits: a second one costs a load of a million half its time,
# for each number goes to a page of its own in either. A whole number is therefore asked for like this:
Index("phones_number", phones.c.number % 1_000_000, phones.c.number)
NUMBER_IS: Final = "p.number % 1000000 = {0} % 1000000 AND +p.number = {0}"  # the plus: for the index

local_phones = Table(  # digits whose country is not known
    "local_phones",
    metadata,
    Column("digits", Text, nullable=False),
    Column("contact_id", Id, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("tail", Id, nullable=False),  # the last six digits
    Column("typed", Text),
    PrimaryKeyConstraint("digits", "contact_id"),
    sqlite_with_rowid=False,
)
Index("local_phones_contact", local_phones.c.contact_id)
Index("local_phones_tail", local_phones.c.tail)

switchboards = Table(  # main numbers: `prefix` is the E.164 number without its final zero(s)
    "switchboards",
    metadata,
    Column("prefix", Id, nullable=False),
    Column("contact_id", Id, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    Column("main", Id, nullable=False),  # the main number itself
    Column("explicit", Boolean, nullable=False, server_default=text("0")),  # written with -0 or the like
    PrimaryKeyConstraint("prefix", "contact_id"),
    sqlite_with_rowid=False,
)
Index("switchboards_contact", switchboards.c.contact_id)

agents = Table(
    "agents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("email", Text, unique=True),  # lower case
    Column("extension", Text, nullable=False, unique=True),
    Column("salesforce_user_id", Text, unique=True),
    Column("hours", Text, nullable=False, server_default=""),
    Column("timezone", Text, nullable=False, server_default=""),
    Column("absent_until", Id, nullable=False, server_default=text("0")),
    Column("delegate_id", Id, ForeignKey("agents.id", ondelete="SET NULL")),
    Column("ring_seconds", Integer, nullable=False, server_default=text("0")),
    Column("fallback", Text, nullable=False, server_default=""),
    Column(
        "pop", Text, nullable=False, server_default="ringing"
    ),  # when a caller is shown: ringing | answer | off
)

agent_states = Table(  # what phones do, as PBXs tell; good while their PBX is heard of
    "agent_states",
    metadata,
    Column("extension", Text, nullable=False),
    Column("pbx", Text, nullable=False),
    Column("state", Text, nullable=False),  # free | ringing | busy | unreachable | paused
    Column("changed_at", Id, nullable=False),
    PrimaryKeyConstraint("extension", "pbx"),
    sqlite_with_rowid=False,
)

pbx_states = Table(  # when a PBX was last heard of
    "pbx_states",
    metadata,
    Column("pbx", Text, primary_key=True),
    Column("seen_at", Id, nullable=False),
    sqlite_with_rowid=False,
)

blacklist = Table(  # blacklist and allow-list entries
    "blacklist",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("pattern", Text, nullable=False, server_default=""),
    Column("allow", Boolean, nullable=False, server_default=text("0")),
    Column("did", Text, nullable=False, server_default=""),
    Column("treatment", Text, nullable=False, server_default="hangup"),
    Column("target", Text, nullable=False, server_default=""),
    Column("reason", Text, nullable=False, server_default=""),
    Column("expires_at", Id, nullable=False, server_default=text("0")),
    Column("created_by", Text, nullable=False, server_default=""),
    _now(),
    Column("hits", Id, nullable=False, server_default=text("0")),
    Column("last_hit_at", Id, nullable=False, server_default=text("0")),
    UniqueConstraint("kind", "pattern", "did", "allow"),
    CheckConstraint("kind IN ('exact', 'prefix', 'regex', 'country', 'anonymous')", name="kind"),
)

dids = Table(  # what applies to calls on one DID; NULL: as the settings say
    "dids",
    metadata,
    Column("id", Id, primary_key=True),
    Column("did", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("region", Text),
    Column("identify", Boolean),
    Column("naming", Boolean),
    Column("screening", Boolean),
    Column("routing", Boolean),
    Column("create_contacts", Boolean),
    Column("template", Text),
    Column("default_agent", Text),
    Column("ring_seconds", Integer),
    Column("fallback", Text),
    Column("last_agent_minutes", Integer),
)

calls = Table(
    "calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("uniqueid", Text, nullable=False, server_default=""),
    Column("direction", Text, nullable=False, server_default="inbound"),
    Column("started_at", Id, nullable=False),
    Column("ended_at", Id),
    Column("number", Id),  # E.164 digits, where known
    Column("number_text", Text, nullable=False, server_default=""),  # as sent
    Column("name", Text, nullable=False, server_default=""),  # as shown
    Column("did", Text, nullable=False, server_default=""),
    Column("trunk", Text, nullable=False, server_default=""),
    Column("contact_id", Id),
    Column("rung", Text, nullable=False, server_default="none"),
    Column("verdict", Text, nullable=False, server_default="allow"),
    Column("reason", Text, nullable=False, server_default=""),
    Column("rule_id", Id),
    Column("routed_to", Text, nullable=False, server_default=""),  # extension we named
    Column("answered_by", Text, nullable=False, server_default=""),  # extension that spoke
    Column("disposition", Text, nullable=False, server_default=""),
    Column("seconds", Integer),  # spoken
    Column("trace", JSON),
    Column("pbx", Text, nullable=False, server_default=""),
    Column("linkedid", Text, nullable=False, server_default=""),  # Asterisk's thread through all its channels
    Column("answered_at", Id),
    Column("queue", Text, nullable=False, server_default=""),
    Column("recording", Text, nullable=False, server_default=""),  # file name, as the PBX has it
    Column("legs", JSON),  # calls/record.py: Leg, as objects
    Column("transfers", JSON),
    Column("told_by", Text, nullable=False, server_default=""),  # calls/record.py: TELLERS
    Column(
        "part_of", Text, nullable=False, server_default=""
    ),  # the call that this one turned out to belong to
    Column("marks", Text, nullable=False, server_default=""),  # storage/claims.py: words
)
Index("calls_linkedid", calls.c.linkedid, sqlite_where=text("linkedid <> ''"))
Index("calls_part_of", calls.c.part_of, sqlite_where=text("part_of <> ''"))
Index("calls_open", calls.c.started_at, sqlite_where=text("ended_at IS NULL"))
Index("calls_uniqueid", calls.c.uniqueid)
Index("calls_number", calls.c.number, calls.c.started_at, sqlite_where=text("number IS NOT NULL"))
Index("calls_contact", calls.c.contact_id, calls.c.started_at, sqlite_where=text("contact_id IS NOT NULL"))
Index("calls_started", calls.c.started_at)
Index("calls_last_agent", calls.c.number, calls.c.started_at, sqlite_where=text("answered_by <> ''"))

call_channels = Table(  # further channels of conversations: a decision about one of them may come late
    "call_channels",
    metadata,
    Column("uniqueid", Text, nullable=False),
    Column("call_id", Text, ForeignKey("calls.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("uniqueid", "call_id"),
    sqlite_with_rowid=False,
)
Index("call_channels_call", call_channels.c.call_id)

outbox = Table(  # what must still reach Salesforce
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # contact | flag | call | follow-up | chat | record
    Column("contact_id", Id),
    Column("payload", JSON, nullable=False),
    _now(),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Id, nullable=False, server_default=text("0")),
    Column("error", Text, nullable=False, server_default=""),
    Column("ref", Text),  # the record's external id in Salesforce: sent twice, it is written once
    Column("parked", Boolean, nullable=False, server_default=text("0")),  # waits for an admin, not for time
    Column("key", Text),  # of the Task or record it brings in step (tasks.key)
    sqlite_autoincrement=True,
)
Index("outbox_contact", outbox.c.contact_id)
Index("outbox_key", outbox.c.key, sqlite_where=text("key IS NOT NULL"))
Index("outbox_ref", outbox.c.ref, unique=True)

tasks = Table(  # what we made in Salesforce besides contacts, by what it is about
    "tasks",
    metadata,
    Column(
        "key", Text, primary_key=True
    ),  # call:<call id>, follow-up:<call id>, chat:<chat id>, record:<call id>
    Column("salesforce_id", Text, nullable=False, unique=True),
    Column("closed", Boolean, nullable=False, server_default=text("1")),  # of a follow-up: done
    Column("made_at", Id, nullable=False),
    sqlite_with_rowid=False,
)

live_calls = Table(  # conversations in progress, as the tracker needs them after a restart
    "live_calls",
    metadata,
    Column("pbx", Text, nullable=False),
    Column("linkedid", Text, nullable=False),
    Column("state", JSON, nullable=False),
    PrimaryKeyConstraint("pbx", "linkedid"),
    sqlite_with_rowid=False,
)

positions = Table(  # how far a source has been read
    "positions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSON, nullable=False),
    sqlite_with_rowid=False,
)

chats = Table(
    "chats",
    metadata,
    Column("id", Text, primary_key=True),
    Column("channel", Text, nullable=False, server_default="chat"),  # chat | sms | sip-message | whatsapp | …
    Column("direction", Text, nullable=False, server_default="inbound"),
    Column("started_at", Id, nullable=False),
    Column("ended_at", Id, nullable=False),  # of the last message so far
    Column("number", Id),  # E.164 digits, where known
    Column("number_text", Text, nullable=False, server_default=""),
    Column("email", Text, nullable=False, server_default=""),
    Column("name", Text, nullable=False, server_default=""),
    Column("did", Text, nullable=False, server_default=""),  # what was written to
    Column("queue", Text, nullable=False, server_default=""),
    Column("agent", Text, nullable=False, server_default=""),  # extension
    Column("contact_id", Id),
    Column("messages", JSON, nullable=False),  # [at, who, text], who: name or number
)
Index("chats_started", chats.c.started_at)
Index("chats_contact", chats.c.contact_id, sqlite_where=text("contact_id IS NOT NULL"))
Index("chats_number", chats.c.number, chats.c.ended_at, sqlite_where=text("number IS NOT NULL"))

dials = Table(  # calls that people ordered by a click
    "dials",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent", Text, nullable=False),  # extension
    Column("number", Id),  # E.164 digits; NULL: an extension
    Column("number_text", Text, nullable=False),
    Column("contact_id", Id),
    Column("asked_at", Id, nullable=False),
    Column("who", Text, nullable=False),  # user:ana, token:crm
    Column(
        "state", Text, nullable=False
    ),  # asked | ringing-agent | dialling | ringing | answered | ended | failed
    Column("reason", Text, nullable=False, server_default=""),
    Column("changed_at", Id, nullable=False),
    Column("name", Text, nullable=False, server_default=""),  # as the agent's phone shows
    Column("pbx", Text, nullable=False, server_default=""),  # whose it is to dial; '': told to none yet
)
Index("dials_agent", dials.c.agent, dials.c.asked_at)

salesforce_state = (
    Table(  # how far the synchronisation is, and how it went: `sync:Contact`, `login`, `usage`, …
        "salesforce_state",
        metadata,
        Column("name", Text, primary_key=True),
        Column("value", JSON, nullable=False),
        Column("changed_at", Id, nullable=False, server_default=text("0")),
    )
)

sync_seen = Table(  # Salesforce ids that a full synchronisation has met so far
    "sync_seen",
    metadata,
    Column("salesforce_id", Text, primary_key=True),
    sqlite_with_rowid=False,
)

flagged_numbers = Table(  # numbers of blacklisted contacts, as rules have them: their rules have been seen to
    "flagged_numbers",
    metadata,
    Column("pattern", Text, nullable=False),
    Column("contact_id", Id, ForeignKey("contacts.id", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("pattern", "contact_id"),
    sqlite_with_rowid=False,
)
Index("flagged_numbers_contact", flagged_numbers.c.contact_id)

unread_numbers = Table(  # fields of Salesforce records that hold no number anyone can dial
    "unread_numbers",
    metadata,
    Column("salesforce_id", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("salesforce_id", "field"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Id, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),  # e.g. blacklist.add
    Column("before", JSON),
    Column("after", JSON),
)

settings = Table(  # overrides of the settings file that may change at run time; key is section.key
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
    Column("changed_at", Id, nullable=False, server_default=text("0")),
    Column("changed_by", Text, nullable=False, server_default=""),
)

users = Table(  # console log-ins
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False, server_default="viewer"),
    _now(),
    Column("disabled", Boolean, nullable=False, server_default=text("0")),
    Column(
        "extension", Text, nullable=False, server_default=""
    ),  # of their phone: whose calls are "my calls"
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
)

invitations = Table(  # one-time links by which somebody chooses a password
    "invitations",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the secret in the link, hexadecimal
    Column("name", Text, nullable=False, server_default=""),  # of the user; empty: chosen with the password
    Column("role", Text, nullable=False),
    _now(),
    Column("created_by", Text, nullable=False, server_default=""),
    Column("expires_at", Id, nullable=False),
    sqlite_with_rowid=False,
)

sessions = Table(  # who is logged in to the console
    "sessions",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the cookie's secret, hexadecimal
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("csrf", Text, nullable=False),
    _now(),
    Column("seen_at", Id, nullable=False),
    Column("agent", Text, nullable=False, server_default=""),  # what the browser calls itself
    sqlite_with_rowid=False,
)
Index("sessions_user", sessions.c.user_id)

tokens = Table(  # other programs' ways in
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False, unique=True),  # SHA-256, hexadecimal
    Column("scopes", JSON, nullable=False),
    _now(),
    Column("created_by", Text, nullable=False, server_default=""),
    Column("expires_at", Id, nullable=False, server_default=text("0")),  # 0: never
    Column("used_at", Id, nullable=False, server_default=text("0")),  # to the hour
    sqlite_autoincrement=True,
)

replies = Table(  # what was answered to requests with an Idempotency-Key
    "replies",
    metadata,
    Column("who", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("request", Text, nullable=False),  # SHA-256 of method, path and body
    Column("status", Integer, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", Text, nullable=False),
    _now(),
    PrimaryKeyConstraint("who", "key"),
    sqlite_with_rowid=False,
)
Index("replies_created", replies.c.created_at)

revisions = (
    Table(  # counts changes of the small tables (by triggers), so that a reader knows when to compile anew
        "revisions",
        metadata,
        Column("name", Text, primary_key=True),
        Column("value", Id, nullable=False, server_default=text("0")),
    )
)
