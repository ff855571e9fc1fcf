"""URLs of tables: taken apart, named in messages, and never with a password in them.

    postgresql://user@host/database#schema.table      a table, or a view
    postgresql://user@host/database#select ...        a query
    sqlite:///file.db#table, duckdb:///file.db#table  three slashes and a relative path, four and
                                                      an absolute one, as SQLAlchemy has it
    mysql+pymysql://user@host/database#table          whatever SQLAlchemy knows
    delta:///folder, delta+s3://bucket/folder         Delta Lake
    s3://bucket/file.parquet, https://host/file.csv   whatever fsspec knows
    env:NAME#table                                    a URL that an environment variable holds

A password that is typed into a command can be read by everybody on the machine (`ps`), and ends in
histories and logs. So it is not part of a URL that is given, only of one that the environment
holds; and a `Location` keeps it apart, so that nothing which shows one can show it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cascade_tables.connectors.queries import one_query
from cascade_tables.errors import DataError, shown

PASSWORD, PASSWORD_FILE = "CASCADE_DATABASE_PASSWORD", "CASCADE_DATABASE_PASSWORD_FILE"
FROM_ENVIRONMENT = "env:"
HIDDEN = "***"
# Of files that are written as one, by how their names end.
FILES = (".parquet", ".csv", ".csv.gz", ".arrow", ".feather")

# Databases that are asked by ADBC, and what SQLAlchemy is asked for without a driver's name.
ADBC = ("postgresql", "postgres", "sqlite", "duckdb")
BY_SQLALCHEMY = ("mysql", "mariadb", "mssql", "oracle", "snowflake", "redshift", "trino", "db2")
# Parameters of a URL that hold what nobody else is to see.
_SECRET = re.compile(
    r"pass|pwd|secret|token|signature|credential|^sig$|^(api|access|account)?[-_]?key$", re.I
)
# What stands between a user and the last @ that can end a password, for one may have an @, / or #
# as it is. Nothing but figures before a path are a port.
_USER = re.compile(r"(://[^/\s:@?#\[]*):(?!\d+[/?#])(?:\S*|[^/@]*)@")
_NOT_ENCODED = re.compile(r"://[^/:@?#\[]*:(?!\d+[/?#])[^/?#@]*[/?#].*@", re.DOTALL)
_PARAMETER = re.compile(
    r"((?:[\w-]*(?:passw|pwd|secret|token|signature|credential)[\w-]*)\s*=\s*)[^&\s'\"]+", re.I
)
_QUERY = re.compile(r"\s*(select|with|values|table|from)\b", re.I)


class Kind(StrEnum):
    """What is behind a URL."""

    DATABASE = "database"
    DELTA = "delta"
    FILES = "files"


@dataclass(frozen=True)
class Location:
    """What a URL names.

    Attributes:
        kind: what is behind it.
        scheme: what it begins with, such as `postgresql` or `mysql+pymysql`.
        url: without a password, and without the table.
        table: its schema, where one is named, and its name; (): none is named.
        query: what is to be read instead of a table; "": a table.
        secrets: what was in a URL of the environment's, by parameter; "" is the password.
    """

    kind: Kind
    scheme: str
    url: str
    table: tuple[str, ...] = ()
    query: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        rest = self.query or ".".join(map(quoted_where_needed, self.table))
        return f"{self.url}#{rest}" if rest else self.url

    @property
    def name(self) -> str:
        """What to call the table: its name, or a file's without what follows the first point."""
        if self.table:
            return self.table[-1]
        if self.query:
            return "query"
        path = unquote(urlsplit(self.url).path).rstrip("/")
        return path.rpartition("/")[2].partition(".")[0] or self.scheme

    def is_below(self, other: Location) -> bool:
        """Whether this is a table that is permitted where `other` is: of the same database, asked
        in the same way, and of the schema, where one is named; or a folder below that one."""
        if self.kind is not other.kind or self.query or other.query:
            return False
        if self.kind is Kind.DATABASE:
            return self.url == other.url and self.table[: len(other.table)] == other.table
        above = other.url.rstrip("/")
        below = self.url == above or self.url.startswith(above + "/")
        return below and not leads_elsewhere(self.url)

    @property
    def path(self) -> Path:
        """The file of a database that is one, as SQLAlchemy's URLs have it."""
        return Path(unquote(urlsplit(self.url).path)[1:])


def is_url(text: str) -> bool:
    """Whether a text names something by a URL, and not simply a file of this machine."""
    return "://" in text or text.startswith(FROM_ENVIRONMENT)


def leads_elsewhere(path: str) -> bool:
    """Whether a path has a part that stands for another folder, `.` or `..`, in whatever spelling:
    stores take %2e for a point, and some take that apart twice."""
    while (plain := unquote(path)) != path:
        path = plain
    return not {".", ".."}.isdisjoint(re.split(r"[/\\]", path))


def is_single(text: str) -> bool:
    """Whether a URL or path names one thing that is written whole, a table or a file by its name,
    and not a folder of files.

    Raises:
        DataError: as `location_of`.
    """
    if is_url(text) and location_of(text).kind is not Kind.FILES:
        return True
    return text.lower().endswith(FILES)


def location_of(text: str, environment: Mapping[str, str] | None = None) -> Location:
    """Take a URL apart.

    Args:
        text: as it was given, by the user whose process this is: what another user gives is
            `others_location`'s.
        environment: where `env:NAME` is looked up; None: the process's own.

    Raises:
        DataError: it is no URL, or has a password in it; the message does not show that, nor what
            a variable holds.
    """
    environment = os.environ if environment is None else environment
    if not text.startswith(FROM_ENVIRONMENT):
        also = "; or put the whole URL into a variable and give env:NAME"
        return _parsed(text, shown(redacted(text)), also)
    name, hash_, rest = text.removeprefix(FROM_ENVIRONMENT).partition("#")
    if name not in environment:
        raise DataError(f"{shown(text)}: there is no environment variable {shown(name)}")
    return _parsed(environment[name] + hash_ + rest, f"the environment variable {name}", None)


def others_location(text: str) -> Location:
    """Take a URL apart that was sent by somebody else, who is not to learn what the environment of
    this process holds, nor to have it used.

    Raises:
        DataError: as `location_of`, and where it is `env:NAME`.
    """
    if text.startswith(FROM_ENVIRONMENT):
        raise DataError(
            f"{shown(text[:80])} names an environment variable, and would be looked up in another "
            "process than the sender's; allowed: the URL itself, without a password"
        )
    return _parsed(text, shown(redacted(text)), "")


def _parsed(text: str, named: str, also: str | None) -> Location:
    """What a URL names.

    Args:
        text: the URL.
        named: what to call it in a message.
        also: of how else to give a password than in it; None: it may have one.
    """
    scheme, mark, _ = text.partition("://")
    scheme = scheme.lower()
    if not mark or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise DataError(f"{named} is no URL; allowed: such as s3://bucket/file.csv")
    kind = _kind(scheme)
    if _NOT_ENCODED.search(text):
        # Whoever took it apart would take the rest of the password for a path, and show it.
        if also is None:
            raise DataError(
                f"{named} holds a password with a /, ? or # in it; allowed: %2F, %3F and %23"
            )
        raise DataError(_shows_password(text, kind, scheme) + also)
    url, fragment = text, ""
    if kind is Kind.DATABASE:
        url, _, fragment = text.partition("#")
    url, secrets = _without_secrets(url, named)
    if secrets and also is not None:
        raise DataError(_shows_password(text, kind, scheme) + also)
    if kind is Kind.DATABASE and _QUERY.match(fragment) and re.search(r"\s", fragment.strip()):
        return Location(kind, scheme, url, (), one_query(fragment, scheme), secrets)
    return Location(kind, scheme, url, _table(fragment), "", secrets)


def _kind(scheme: str) -> Kind:
    if scheme == "delta" or scheme.startswith("delta+"):
        return Kind.DELTA
    first = scheme.partition("+")[0]
    if first in ADBC or first in BY_SQLALCHEMY or "+" in scheme:
        return Kind.DATABASE
    return Kind.FILES


def _shows_password(text: str, kind: Kind, scheme: str) -> str:
    """What is wrong with a URL; of it only the beginning, for a password may end anywhere."""
    begin = re.match(r"[^:]*://[^:@?#]*", text)
    return (
        f"{'' if begin is None else begin[0]}... was given with a password or key in it, which "
        f"`ps`, histories and logs show; {_elsewhere(kind, scheme)}"
    )


def _elsewhere(kind: Kind, scheme: str) -> str:
    if kind is Kind.DATABASE:
        also = ", ~/.pgpass or PGPASSWORD" if scheme.startswith("postgres") else ""
        return (
            f"leave it out and put it into the environment as {PASSWORD}, into a file that "
            f"{PASSWORD_FILE} names{also}"
        )
    return (
        "leave it out and put keys where the store's own tools look for them (such as "
        "AWS_ACCESS_KEY_ID)"
    )


def _without_secrets(url: str, named: str) -> tuple[str, dict[str, str]]:
    """A URL without what nobody is to see, and that; `named` is what to call it."""
    scheme, mark, rest = url.partition("://")
    try:
        # With a scheme of which it is known that it may have all parts.
        parts = urlsplit(f"http://{rest}")
    except ValueError:
        # Python's own words may repeat the password.
        raise DataError(f"{named} is no URL: what is before its path is no host") from None
    secrets: dict[str, str] = {}
    authority = parts.netloc
    user, at, host = authority.rpartition("@")
    if at and ":" in user:
        user, _, password = user.partition(":")
        if password:
            secrets[""] = unquote(password)
        authority = f"{user}@{host}"
    query = parts.query
    if any(_SECRET.search(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        kept = []
        for name, value in parse_qsl(query, keep_blank_values=True):
            if _SECRET.search(name) and name.lower() != "passfile":
                secrets["" if name.lower() in ("password", "pwd") else name] = value
            else:
                kept.append(f"{quote(name)}={quote(value, safe='/:')}")
        query = "&".join(kept)
    made = f"{authority}{parts.path}{'?' if query else ''}{query}"
    made += f"#{parts.fragment}" if parts.fragment else ""
    return f"{scheme.lower()}{mark}{made}", secrets


def _table(fragment: str) -> tuple[str, ...]:
    """A name as SQL writes it, with a schema before it or not: parts with points in quotes."""
    text = fragment.strip()
    if not text:
        return ()
    parts = re.findall(r'"((?:[^"]|"")+)"|([^".]+)', text)
    written = ".".join(f'"{quoted}"' if quoted else plain for quoted, plain in parts)
    if written != text or len(parts) > 3 or any(re.search(r"\s", plain) for _, plain in parts):
        raise DataError(
            f'{shown(text)} is no name of a table; allowed: table, schema.table, "odd.name", or a '
            "query that begins with select or with"
        )
    return tuple(quoted.replace('""', '"') or plain for quoted, plain in parts)


def quoted(name: str) -> str:
    """An identifier as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def quoted_where_needed(name: str) -> str:
    """An identifier as a URL has it."""
    return quoted(name) if re.search(r'[\s."]', name) else name


def redacted(text: str, *secrets: str) -> str:
    """A text, such as another program's message, without passwords.

    Args:
        text: to show.
        secrets: that are known, and are hidden wherever they are.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN).replace(quote(secret, safe=""), HIDDEN)
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1:{HIDDEN}@", text))


def password_of(location: Location, environment: Mapping[str, str] | None = None) -> str:
    """The password of a database: of the URL that the environment holds, else of a variable, else
    of a file that a variable names; "": none is known, and the database's own ways are left.

    Raises:
        DataError: the file cannot be read.
    """
    environment = os.environ if environment is None else environment
    if "" in location.secrets:
        return location.secrets[""]
    if environment.get(PASSWORD):
        return environment[PASSWORD]
    file = environment.get(PASSWORD_FILE)
    if not file:
        return ""
    try:
        return Path(file).read_text().rstrip("\r\n")
    except (OSError, UnicodeError) as exc:
        why = getattr(exc, "strerror", None) or "it is not text"
        raise DataError(f"{PASSWORD_FILE} names {file}, which cannot be read: {why}") from exc


def full_url(location: Location, password: str) -> str:
    """The URL with all its secrets, for who opens the connection; for nobody's eyes."""
    parts = location.url.partition("://")
    authority, slash, rest = parts[2].partition("/")
    if password and "@" in authority:
        user, _, host = authority.rpartition("@")
        authority = f"{user}:{quote(password, safe='')}@{host}"
    made = f"{parts[0]}://{authority}{slash}{rest}"
    extra = {name: value for name, value in location.secrets.items() if name}
    if password and "@" not in authority and location.kind is Kind.DATABASE:
        extra["password"] = password
    for name, value in extra.items():
        made += ("&" if "?" in made else "?") + f"{quote(name)}={quote(value, safe='')}"
    return made
