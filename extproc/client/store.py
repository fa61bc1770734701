"""Where sign-ins are kept: one file for each gateway, with the tokens in the system's keyring where there is one.

A file says which gateway it belongs to and how long the token lasts. Without a keyring (CI, servers) it has the tokens
too. It is readable by its owner only. The package `keyring` takes its time to load, so it loads where it is used.
"""

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs
from filelock import FileLock, Timeout

from extproc.client.connection import ClientError
from extproc.client.oauth import Server, Tokens
from extproc.printable import printable

Place = Literal["keyring", "file"]

SERVICE: Final = "llm-extproc"
PIECE: Final = 1000
"""Characters of a keyring entry. Windows takes 1280 at most, and a token can be longer."""
MAX_PIECES: Final = 64
LOCK_SECONDS: Final = 60.0
FILE_INSTEAD: Final = "To keep tokens in a file instead: extproc login --keep-in file"
LOCKED: Final = f"the system's keyring is locked; unlock it and try again. {FILE_INSTEAD}"


@dataclass(frozen=True)
class SignIn:
    gateway: str
    server: Server
    access_token: str
    refresh_token: str | None
    obtained_at: float
    """Unix seconds by this machine's clock, like `expires_at`."""
    expires_at: float
    place: Place = "file"

    def renewed(self, tokens: Tokens, now: float) -> "SignIn":
        """A server that does not rotate refresh tokens may leave them out of its answer."""
        refresh_token = tokens.refresh_token or self.refresh_token
        end = now + tokens.lifetime
        return replace(
            self, access_token=tokens.access_token, refresh_token=refresh_token, obtained_at=now, expires_at=end
        )


def folder() -> Path:
    return platformdirs.user_data_path(SERVICE, appauthor=False)


def gateways() -> list[str]:
    """The gateways that somebody has signed in to, in alphabetical order."""
    return sorted(str(record["gateway"]) for path in folder().glob("*.json") if (record := _read(path)))


@contextlib.contextmanager
def locked(gateway: str) -> Iterator[None]:
    """Keeps other processes from reading or writing this gateway's sign-in meanwhile."""
    path = _path(gateway)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS, mode=0o600):
            yield
    except Timeout as error:
        raise ClientError(f"another extproc process has held {path.with_suffix('.lock')} for a minute") from error
    except OSError as error:
        raise ClientError(f"cannot use {path.parent}: {error.strerror}") from error


def load(gateway: str) -> SignIn | None:
    """The sign-in at this gateway, or None. The caller holds its lock."""
    record = _read(_path(gateway))
    if record is None:
        return None
    try:
        secrets = record["secrets"] if record["place"] == "file" else json.loads(_read_keyring(gateway))
        times = float(record["obtained_at"]), float(record["expires_at"])
        server, place = Server(**record["server"]), record["place"]
        return SignIn(gateway, server, str(secrets["access_token"]), secrets["refresh_token"], *times, place)
    except (KeyError, TypeError, ValueError) as error:
        raise ClientError(f"the sign-in kept for {gateway} is damaged. Sign in again: {login(gateway)}") from error


def save(sign_in: SignIn) -> None:
    """Replaces what is kept for the gateway. The caller holds its lock."""
    path = _path(sign_in.gateway)
    older = _read(path)
    record = asdict(sign_in)
    secrets = {name: record.pop(name) for name in ("access_token", "refresh_token")}
    if sign_in.place == "keyring":
        _write_keyring(sign_in.gateway, json.dumps(secrets))
    else:
        record["secrets"] = secrets
    _write(path, json.dumps(record, indent=2))
    if sign_in.place == "file" and older is not None and older.get("place") == "keyring":
        with contextlib.suppress(ClientError):  # whoever chooses the file may be locked out of the keyring
            _write_keyring(sign_in.gateway, "")


def delete(gateway: str) -> None:
    """The caller holds the gateway's lock, whose file stays."""
    record = _read(_path(gateway))
    if record is not None and record.get("place") == "keyring":
        _write_keyring(gateway, "")
    _path(gateway).unlink(missing_ok=True)


def choose_place() -> Place:
    """`keyring` where this session has one that keeps what it is given."""
    import keyring
    from keyring.errors import KeyringError, KeyringLocked

    try:
        keyring.set_password(SERVICE, "test", "kept")
        kept = keyring.get_password(SERVICE, "test") == "kept"
        keyring.delete_password(SERVICE, "test")
    except KeyringLocked as error:
        raise ClientError(LOCKED) from error
    except (KeyringError, OSError, RuntimeError):
        return "file"
    return "keyring" if kept else "file"


def login(gateway: str) -> str:
    """The command that signs in at a gateway."""
    return f"extproc login --gateway {gateway}"


def _path(gateway: str) -> Path:
    return folder() / f"{hashlib.sha256(gateway.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ClientError(f"{path} can be read by others. Make it yours alone: chmod 600 {path}")
            record = json.load(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror}") from error
    except ValueError:
        record = None
    if not isinstance(record, dict) or "gateway" not in record:
        raise ClientError(f"{path} is damaged; remove it, and sign in again")
    return record


def _write(path: Path, text: str) -> None:
    """Whole or not at all. Temporary files have mode 0600."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _read_keyring(gateway: str) -> str:
    import keyring

    pieces = list[str]()
    with _keyring_errors():
        while len(pieces) < MAX_PIECES and (piece := keyring.get_password(SERVICE, _entry(gateway, len(pieces)))):
            pieces.append(piece)
    return "".join(pieces)


def _write_keyring(gateway: str, text: str) -> None:
    """Replaces all entries of the gateway; an empty text removes them."""
    import keyring

    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    if len(pieces) > MAX_PIECES:
        raise ClientError(f"the tokens of {gateway} are too long for the keyring. {FILE_INSTEAD}")
    with _keyring_errors():
        for number, piece in enumerate(pieces):
            keyring.set_password(SERVICE, _entry(gateway, number), piece)
        for number in range(len(pieces), MAX_PIECES):
            if keyring.get_password(SERVICE, _entry(gateway, number)) is None:
                break
            keyring.delete_password(SERVICE, _entry(gateway, number))


@contextlib.contextmanager
def _keyring_errors() -> Iterator[None]:
    from keyring.errors import KeyringError, KeyringLocked

    try:
        yield
    except KeyringLocked as error:
        raise ClientError(LOCKED) from error
    except (KeyringError, OSError, RuntimeError) as error:
        text = printable(str(error)) or type(error).__name__
        raise ClientError(f"the system's keyring cannot be used ({text}). {FILE_INSTEAD}") from error


def _entry(gateway: str, number: int) -> str:
    return gateway if number == 0 else f"{gateway} ({number + 1})"
