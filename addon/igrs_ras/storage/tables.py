"""The tables, as the code reads and writes them. The migrations make them; a test proves that both agree.

Identifiers are 32 hex digits, times milliseconds since 1970 in BIGINT, keys and hashes raw bytes. A secret that only
has to be recognised is stored as its SHA-256.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id(
    name: str, *arguments: ForeignKey, primary_key: bool = False, nullable: bool = False
) -> Column[str]:
    return Column(name, String(32), *arguments, primary_key=primary_key, nullable=nullable)


def _site(*, primary_key: bool = False) -> Column[str]:
    return _id("site", ForeignKey("sites.id", ondelete="CASCADE"), primary_key=primary_key)


def _user(*, primary_key: bool = False, nullable: bool = False) -> Column[str]:
    return _id(
        "user",
        ForeignKey("users.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=nullable,
    )


def _time(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


# One row: who this server is. `boot` is compared with a file outside every backup (restore detection). `reached`: the
# public_url at which a request has come in.
server = Table(
    "server",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, nullable=False),
    Column("boot", LargeBinary, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("reached", Text, nullable=True),
    _time("created"),
)

# A home. `suspended`: after a restore nobody but the gateway gets in until its site.sync.
sites = Table(
    "sites",
    metadata,
    _id("id", primary_key=True),
    Column("name", String(100), nullable=False),
    Column("generation", BigInteger, nullable=False),
    _flag("suspended"),
    _time("created"),
)

# `n` is the highest connection number seen; `local`: enrolled over the Supervisor's network.
gateways = Table(
    "gateways",
    metadata,
    _id("id", primary_key=True),
    _site(),
    Column("public_key", LargeBinary, nullable=False),
    Column("n", BigInteger, nullable=False, server_default=text("0")),
    _flag("local"),
    _time("created"),
    _time("seen", nullable=True),
    _time("revoked", nullable=True),
)
Index(
    "uq_gateways_active",
    gateways.c.site,
    unique=True,
    sqlite_where=gateways.c.revoked.is_(None),
    postgresql_where=gateways.c.revoked.is_(None),
)

# Enrolment codes, made on the command line. `local`: works over the Supervisor's network only.
enrolments = Table(
    "enrolments",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    _site(),
    _flag("local"),
    _time("created"),
    _time("expires"),
    _time("used", nullable=True),
)

users = Table(
    "users",
    metadata,
    _id("id", primary_key=True),
    Column("name", String(100), nullable=False),
    Column("email", String(254), nullable=True, unique=True),
    _time("email_verified", nullable=True),
    Column("password", Text, nullable=True),
    Column("totp", LargeBinary, nullable=True),
    Column("totp_step", BigInteger, nullable=False, server_default=text("0")),
    _time("totp_confirmed", nullable=True),
    _time("created"),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    _user(),
    Column("hash", LargeBinary, nullable=False),
    _time("used", nullable=True),
    PrimaryKeyConstraint("user", "hash"),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("credential", LargeBinary, primary_key=True),
    _id("id"),
    _user(),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("name", String(100), nullable=False),
    _time("created"),
    _time("used", nullable=True),
    Index(None, "user"),
    Index(None, "id", unique=True),
)

# `kind`: cookie, bearer or join (a browser of an invited person). `full` false: the second step is missing.
# `proven`: when a password or second factor was last shown in it, which changes of the account need to be recent.
sessions = Table(
    "sessions",
    metadata,
    _id("id", primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    _user(),
    Column("kind", String(8), nullable=False),
    _flag("full"),
    _time("created"),
    _time("used"),
    _time("expires"),
    _time("proven", nullable=True),
    Column("challenge", LargeBinary, nullable=True),
    _time("challenge_expires", nullable=True),
    Index(None, "user"),
)

# Six-digit codes that went out by mail. `purpose`: sign_in, verify, reset. Bound to the pending session where there is one.
mail_codes = Table(
    "mail_codes",
    metadata,
    _id("id", primary_key=True),
    _user(),
    _id("session", ForeignKey("sessions.id", ondelete="CASCADE"), nullable=True),
    Column("purpose", String(8), nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("email", String(254), nullable=False),
    _time("created"),
    _time("expires"),
    _time("used", nullable=True),
    Index(None, "user"),
)

# Counts of failures and of use, by a hashed name of what is limited.
throttle = Table(
    "throttle",
    metadata,
    Column("bucket", LargeBinary, primary_key=True),
    Column("count", Integer, nullable=False),
    _time("since"),
    _time("until"),
    Index(None, "until"),
)

# Browsers that signed in before: they have failure counts of their own, so a stranger cannot lock the owner out.
known_devices = Table(
    "known_devices",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    _user(),
    _time("created"),
    _time("used"),
    Index(None, "user"),
)

# `state`: pending until the home's invitation.done, then active. `role`: owner or member. `key_number`: of the last
# keys.update that the home sent for this member; `keys_wanted`: of the gateway's last event that asked for one.
members = Table(
    "members",
    metadata,
    _site(primary_key=True),
    _user(primary_key=True),
    Column("role", String(8), nullable=False),
    Column("state", String(8), nullable=False),
    Column("key_number", BigInteger, nullable=False, server_default=text("0")),
    Column("keys_wanted", BigInteger, nullable=False, server_default=text("0")),
    _time("created"),
    Index(None, "user"),
)

locks = Table(
    "locks",
    metadata,
    _site(primary_key=True),
    Column("device", String(12), primary_key=True),
    Column("capabilities", Integer, nullable=False),
    _time("created"),
)

# Which member may relay to which lock: the remote right, as the home says it.
grants = Table(
    "grants",
    metadata,
    Column("site", String(32), primary_key=True),
    Column("user", String(32), primary_key=True),
    Column("device", String(12), primary_key=True),
    ForeignKeyConstraint(["site", "user"], ["members.site", "members.user"], ondelete="CASCADE"),
    ForeignKeyConstraint(["site", "device"], ["locks.site", "locks.device"], ondelete="CASCADE"),
    Index(None, "site", "device"),
)

# `kind`: owner (redeemed with a code) or guest (joined by a link). `state`: open, joined, done, withdrawn.
# An expired one is an open one after `expires`.
invitations = Table(
    "invitations",
    metadata,
    _id("id", primary_key=True),
    _site(),
    Column("kind", String(8), nullable=False),
    Column("code", LargeBinary, nullable=True, unique=True),
    Column("state", String(10), nullable=False),
    _id("user", ForeignKey("users.id", ondelete="SET NULL"), nullable=True),
    _time("created"),
    _time("expires"),
    Index(None, "site"),
)

# A join as the client sent it, and the home's answer. `state`: pending, answered, refused, wrong.
joins = Table(
    "joins",
    metadata,
    _id("id", primary_key=True),
    _id("invitation", ForeignKey("invitations.id", ondelete="CASCADE")),
    Column("client_public", LargeBinary, nullable=False),
    Column("proof", LargeBinary, nullable=False),
    Column("name", String(100), nullable=False),
    Column("state", String(8), nullable=False),
    _user(nullable=True),
    Column("home_public", LargeBinary, nullable=True),
    Column("box", LargeBinary, nullable=True),
    Column("done", LargeBinary, nullable=True),
    _time("created"),
    Index(None, "invitation", "client_public", unique=True),
    Index(None, "user"),
)

# One row per relay. `state`: accepted, answered, failed, expired, unknown.
relays = Table(
    "relays",
    metadata,
    _id("user", primary_key=True),
    _site(primary_key=True),
    Column("device", String(12), primary_key=True),
    Column("key", String(26), primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("state", String(10), nullable=False),
    Column("code", Integer, nullable=False, server_default=text("0")),
    _time("created"),
    _time("ended", nullable=True),
    Index(None, "created"),
    Index(None, "state"),
)

# Who can have durable events: "user:<id>" or "gateway:<site>". `seq` is the last one given.
recipients = Table(
    "recipients",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column(
        "recipient", String(40), ForeignKey("recipients.name", ondelete="CASCADE"), primary_key=True
    ),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
    _time("time"),
    Index(None, "time"),
)

# The audit: `entry` is the exact text that was hashed.
audit = Table(
    "audit",
    metadata,
    _site(primary_key=True),
    Column("i", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("entry", Text, nullable=False),
    _time("time"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _site(primary_key=True),
    Column("last", BigInteger, primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False),
    Column("before", LargeBinary, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
