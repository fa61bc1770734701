"""Certificates that the configuration names with `ca_file`, trusted instead of the public authorities."""

import ssl
from pathlib import Path

from extproc.config.faults import Fault, Where
from extproc.config.loading import Source


def trusting(pem: str) -> ssl.SSLContext:
    """Returns TLS that trusts these certificates alone. Raises ssl.SSLError if there are none."""
    # With an empty string Python would trust the system's.
    return ssl.create_default_context(cadata=pem or "-")


def load(source: Source, path: Path | None, where: Where, faults: list[Fault]) -> str | None:
    """Returns the certificates in PEM; None: no file is named, or it has a mistake, which is added to `faults`."""
    if path is None:
        return None
    try:
        pem = source.read(path).decode("ascii", "ignore")
        trusting(pem)
    except ssl.SSLError:
        faults.append(Fault(where, f"{path} holds no certificates in PEM form"))
    except OSError as error:
        faults.append(Fault(where, f"{path} cannot be read: {error.strerror}"))
    else:
        return pem
    return None
