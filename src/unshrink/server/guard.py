"""Who asks, and under which name: proxies that may say so, names that the service answers to, pages of other sites.

A page that somebody visits can make the browser send requests to this machine, and under a name of its own that
resolves to this machine it can read the answers too (DNS rebinding).  So a request must come under a name that is ours,
and a page must be from here.  `Sec-Fetch-Site` alone does not tell: browsers leave it out over plain HTTP to names
other than localhost.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from unshrink.errors import ConfigError
from unshrink.server.refusal import Refusal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_ALL = frozenset({"0.0.0.0", "::", ""})  # addresses to listen at that stand for any
_FOREIGN = "this service answers no pages of other sites"


class Proxies:
    """Takes from the proxies that are named, and from nobody else, whose request it is and where the service stands.

    Args:
        app: what answers.
        networks: of proxies.
    """

    def __init__(self, app: ASGIApp, networks: Iterable[Network]) -> None:
        self._app, self._networks = app, tuple(networks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, with the client's address and the prefix of all paths."""
        peer, port = scope.get("client") or ("", 0)
        if scope["type"] == "http" and self._is_proxy(peer):
            headers = Headers(scope=scope)
            scope["client"] = self._client(peer, headers.getlist("x-forwarded-for")), port
            if prefix := headers.get("x-forwarded-prefix", "").rstrip("/"):
                scope["root_path"], scope["path"] = prefix, prefix + scope["path"]
        await self._app(scope, receive, send)

    def _is_proxy(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)

    def _client(self, peer: str, forwarded: list[str]) -> str:
        """The last address that is not of a proxy: those before it are only claimed."""
        client = peer
        for hop in reversed([host.strip() for line in forwarded for host in line.split(",")]):
            if not (self._is_proxy(client) and _address(hop)):
                break
            client = hop
        return client


class Hosts:
    """Refuses requests under names that are not the service's.

    Args:
        app: what answers.
        bound: the address that it listens at.
        allowed: further names.
    """

    def __init__(self, app: ASGIApp, bound: str, allowed: Iterable[str]) -> None:
        self._app, self._any_address = app, bound in _ALL
        self._names = {*_HERE, bound.lower(), *map(str.lower, allowed)} - _ALL

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] == "http" and not self._is_ours(host := _name(Headers(scope=scope).get("host", ""))):
            error = f"this service does not answer to the name {host[:100]!r}; its operator can allow it"
            await JSONResponse({"error": error}, 421)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        # Addresses cannot be made to resolve to another
        return host in self._names or (self._any_address and _address(host) is not None)


def same_site(request: Request) -> None:
    """Refuses what pages of other sites make a browser send: the service may listen where only its owner reaches it."""
    headers = request.headers
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Refusal(403, _FOREIGN)
    origin = urlsplit(headers.get("origin", ""))
    own = origin.netloc.lower() == headers.get("host", "").lower()
    if "origin" in headers and not (own or origin.hostname in request.app.state.service.settings.allow_hosts):
        raise Refusal(403, _FOREIGN)


def no_browser(request: Request) -> None:
    """Refuses browsers: what is meant for programs is nothing for pages, whosever they are."""
    headers = request.headers
    if "sec-fetch-site" in headers or "origin" in headers or headers.get("user-agent", "").startswith("Mozilla/"):
        raise Refusal(403, "this is for programs, not for browsers")


def _name(host: str) -> str:
    """Without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def neighbourhood(host: str) -> str:
    """Addresses that one client can have: itself, or 2**64 of IPv6."""
    address = _address(host)
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address or host)


def _address(host: str) -> Address | None:
    """An address; of IPv4 too where IPv6 is spoken with it (::ffff:10.0.0.1)."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def network(name: str) -> Network:
    """The network of a name like 10.0.0.0/8, or of one address.  Raises ConfigError if it is neither."""
    try:
        return ip_network(name, strict=False)
    except ValueError:
        raise ConfigError(
            f"{name!r} is no address of a proxy; give one like 10.0.0.2, or a network: 10.0.0.0/8"
        ) from None
