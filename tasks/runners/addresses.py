"""Which addresses a worker may be sent to (SSRF): resolved once, all checked, then connected to.

The check sits where the socket is opened, so nothing can change between the two: the name is
resolved there, every address it has is judged, and the connection goes to one of those.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from app.errors import ConfigError, StepError
from tool_catalog.model import Reason

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Address family and socket address.
Place = tuple[int, tuple[str, int]]

#: Where clouds hand a machine's credentials to whoever asks from it (AWS, Azure, GCP; Alibaba).
METADATA: frozenset[Address] = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200"))
)
#: What people number their own networks with (RFC 1918). RFC 4193 is not here: AWS has its
#: metadata at fd00:ec2::254.
INTERNAL: tuple[Network, ...] = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
)
#: RFC 6052: IPv4 addresses as an IPv6-only network shows them.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: RFC 3879: deprecated, still private, and `is_global` for Python.
SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Refuses private, loopback, link-local (cloud metadata), multicast and reserved addresses."""

    #: Host names, lower case, that may be anything.
    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def from_text(cls, allow: str) -> "AddressGuard":
        """Read "relay.example.com, 10.1.2.3, 10.8.0.0/16"; raises ConfigError for a bad network."""
        names, networks = set(), []
        for entry in filter(None, (part.strip() for part in allow.split(","))):
            network = _read_network(entry)
            if network is not None:
                networks.append(network)
            elif "/" in entry:
                raise ConfigError(f"setting allow_private: {entry} is no network")
            else:
                names.add(entry.lower().rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def with_internal(self) -> "AddressGuard":
        """One that lets people's own networks pass, too; loopback and metadata it does not."""
        return replace(self, networks=(*self.networks, *INTERNAL))

    def lists(self, host: str) -> bool:
        """Whether the allow-list names this host, or holds this literal address."""
        name = host.lower().strip("[]").rstrip(".")
        network = _read_network(name)
        return name in self.names or (network is not None and self._allows(network.network_address))

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Open a connection to one of the host's addresses, all of them checked before.

        Raises StepError: refused_by_policy, not_found (no such name) or unreachable (transient).
        """
        return self.open_first(host, self.resolve(host, port), timeout_s)

    @staticmethod
    def open_first(host: str, addresses: Sequence[Place], timeout_s: float) -> socket.socket:
        """Open a connection to the first of the resolved addresses that answers."""
        last: OSError | None = None
        for family, address in addresses:
            try:
                return _open(family, address, timeout_s)
            except OSError as error:
                last = error
        detail = "timed out" if isinstance(last, TimeoutError) else (last and last.strerror)
        port = addresses[0][1][1]
        raise StepError(
            Reason.UNREACHABLE, f"cannot connect to {host} port {port}: {detail}", transient=True
        )

    def resolve(self, host: str, port: int) -> list[Place]:
        """(family, socket address) of a host; raises StepError when any address is forbidden."""
        bare = host.strip("[]").rstrip(".")
        try:
            found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            transient = error.errno == socket.EAI_AGAIN
            reason = Reason.UNREACHABLE if transient else Reason.NOT_FOUND
            message = f"no address for {bare}: {error.strerror}"
            raise StepError(reason, message, transient=transient) from None
        except UnicodeError:
            raise StepError(Reason.INVALID_PARAMETER, "the host name is not valid") from None
        addresses = [(int(entry[0]), cast("tuple[str, int]", entry[4])) for entry in found]
        for _family, (text, *_rest) in addresses:
            self._check(bare, ipaddress.ip_address(text))
        return addresses

    def _check(self, host: str, address: Address) -> None:
        if self._allows(address):
            return
        if _unwrap(address) in METADATA:
            raise StepError(
                Reason.REFUSED_BY_POLICY,
                f"{host} is at {address}, which is not a public address: clouds hand out "
                "credentials there; only the address itself in OPSFARM_ALLOW_PRIVATE permits it",
            )
        if host.lower() in self.names:
            return
        if _is_public(_unwrap(address)):
            return
        raise StepError(
            Reason.REFUSED_BY_POLICY,
            f"{host} is at {address}, which is not a public address; to permit it, add the host, "
            "the address or its network to OPSFARM_ALLOW_PRIVATE",
        )

    def _allows(self, address: Address) -> bool:
        return any(_unwrap(address) in network for network in self.networks)


def _is_public(address: Address) -> bool:
    special = address.is_multicast or address.is_reserved or address in SITE_LOCAL
    return address.is_global and not special


def _unwrap(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where there is one (mapped, NAT64, 6to4)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _read_network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _open(family: int, address: tuple[str, int], timeout_s: float) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(timeout_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.connect(address)
    except OSError:
        opened.close()
        raise
    return opened
