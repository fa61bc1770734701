"""Certificates between Envoy and a processor on TCP, and where plaintext is allowed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from extproc.config.faults import Fault
from extproc.config.loading import Invalid, Source

# What an operator copies into the file.
_TLS = "tls: {certificate: processor.pem, key: processor.key, client_ca: ca.pem}   # of the processor"
_CLIENT = "client: {certificate: envoy.pem, key: envoy.key, ca_file: ca.pem}   # of Envoy"
PAIR = "expected a certificate in PEM and the key that belongs to it"


@dataclass(frozen=True)
class ServerTls:
    """What the processor presents, and the authorities whose clients it accepts, in PEM."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes


def load(source: Source, faults: list[Fault]) -> ServerTls | None:
    """Returns the files of `processor.tls`; None where it is absent or has a fault, which is added to `faults`."""
    settings = source.config.processor.tls
    if settings is None:
        return None
    contents: dict[str, bytes] = {}
    for name in ("certificate", "key", "client_ca"):
        try:
            contents[name] = source.read(getattr(settings, name))
        except OSError as error:  # the name is not quoted: it may be the key itself
            faults.append(Fault(("processor", "tls", name), f"this file cannot be read: {error.strerror}"))
    if len(contents) < 3:
        return None
    found = ServerTls(**contents)
    if problem := _problem(found):
        faults.append(Fault(("processor", "tls"), problem))
        return None
    return found


def _problem(tls: ServerTls) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        halves = x509.load_pem_x509_certificates(tls.certificate)[0], load_pem_private_key(tls.key, None)
        first, second = (
            half.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for half in halves
        )
    except (ValueError, TypeError):
        return PAIR
    if first != second:
        return PAIR
    try:
        x509.load_pem_x509_certificates(tls.client_ca)
    except ValueError:
        return "client_ca holds no certificate in PEM"
    return ""


def is_tcp(address: str) -> bool:
    return not address.startswith("unix:")


def host_of(address: str) -> str:
    """The host of `HOST:PORT`, without brackets."""
    return address.rpartition(":")[0].strip("[]")


def is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    name = host_of(address)
    return name == "localhost" or (is_ip(name) and ip_address(name).is_loopback)


def in_plaintext(source: Source, addresses: Sequence[str]) -> list[str]:
    """Returns the addresses beyond loopback on which the configuration allows plaintext."""
    return _exposed(addresses) if source.config.processor.insecure else []


def check_server(source: Source, addresses: Sequence[str]) -> None:
    """Raises config.Invalid, with what to add, if the processor would use plaintext beyond loopback."""
    settings = source.config.processor
    if settings.tls is None and not settings.insecure:
        _refuse(source, _exposed(addresses), [_TLS, _CLIENT])


def check_client(source: Source, addresses: Sequence[str]) -> None:
    """Raises config.Invalid if the Envoy whose files are rendered here would use plaintext beyond loopback, or has no
    certificate although the processor requires one."""
    settings = source.config.processor
    if settings.client is not None or settings.insecure:
        return
    _refuse(source, _exposed(addresses), [_CLIENT])
    if settings.tls is not None and any(map(is_tcp, addresses)):
        problem = f"is needed by an Envoy that reaches the processor over TCP: add {_CLIENT}"
        raise source.explain([Fault(("processor", "client"), problem)])


def check_both(source: Source, addresses: Sequence[str]) -> None:
    """Does `check_server` and `check_client`, where Envoy's files and the processor have the same configuration. Raises
    config.Invalid."""
    check_server(source, addresses)
    check_client(source, addresses)
    settings = source.config.processor
    if settings.client is not None and settings.tls is None and any(map(is_tcp, addresses)):
        problem = f"is needed by a processor to which Envoy speaks TLS: add {_TLS}"
        raise source.explain([Fault(("processor", "tls"), problem)])


def _exposed(addresses: Sequence[str]) -> list[str]:
    return [address for address in addresses if is_tcp(address) and not _is_loopback(address)]


def _refuse(source: Source, exposed: Sequence[str], missing: Sequence[str]) -> None:
    if not exposed:
        return
    reached = (
        f"{exposed[0]} can be reached by other machines, and everybody who reaches it can obtain the providers' keys"
    )
    raise Invalid(
        [
            f"{source.path}: processor: {reached}. It needs mutual TLS: add",
            "processor:",
            *(f"  {line}" for line in missing),
            "with files of your own, found relative to this one; docs/deploy.md says how to make them. Unix sockets",
            "and 127.0.0.1 need none. `processor: {insecure: true}` allows plaintext, where nobody else can connect.",
        ]
    )
