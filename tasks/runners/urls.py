"""Which URLs a worker may be sent to, before their hosts are resolved."""

from urllib.parse import urlsplit

from app.errors import StepError
from tasks.runners.addresses import AddressGuard
from tool_catalog.model import Reason


def check_url(url: str, guard: AddressGuard, *, https_only: bool) -> None:
    """Refuse what is no plain http(s) URL; raises StepError, whose text holds only its host."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise StepError(Reason.INVALID_PARAMETER, "the URL is not valid") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise StepError(
            Reason.INVALID_PARAMETER, "the URL must begin with https://host or http://host"
        )
    if parts.username is not None or parts.password is not None:
        raise StepError(
            Reason.INVALID_PARAMETER, "the URL holds a login; give it as a secret instead"
        )
    if https_only and parts.scheme != "https" and not guard.lists(host):
        raise StepError(
            Reason.REFUSED_BY_POLICY,
            f"{host} is not reached by https, and what is sent there is secret; "
            "to permit http, add the host to OPSFARM_ALLOW_PRIVATE",
        )
