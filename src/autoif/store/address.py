"""Where a call store is: a file, or the address of a PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from autoif.base.errors import StoreError


def is_address(where: str | Path) -> bool:
    """Whether it is a server's, not a file's."""
    return str(where).startswith(("postgresql://", "postgres://"))


def split_password(address: str) -> tuple[str, str]:
    """The address without its password and options, fit to be shown, and the password. Raises
    StoreError, which shows nothing of it: a part may be read wrongly because of the password."""
    try:
        whole = urlsplit(address)
        query = parse_qs(whole.query)
    except ValueError:
        raise unreadable() from None
    login, at, hosts = whole.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if not at and "@" in address:
        raise unreadable()
    hosts = hosts or ",".join(query.get("host", ()))
    password = unquote(password) or "".join(query.get("password", ()))
    return f"{whole.scheme}://{user}{at}{hosts}{whole.path}", password


def unreadable() -> StoreError:
    return StoreError(
        "the address of the call store cannot be read: write it postgresql://USER@HOST:PORT/NAME, "
        "with the password in PGPASSWORD or ~/.pgpass"
    )
