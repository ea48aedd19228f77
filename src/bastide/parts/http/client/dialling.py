"""New connections: over TCP, TLS, or a unix socket."""

import asyncio
import ssl
from collections.abc import Callable

from bastide.parts.http.client.addresses import Address, Origin
from bastide.parts.http.client.connection import Connection
from bastide.parts.http.client.contract import ConnectFailed, ConnectLate
from bastide.parts.http.client.patience import Patience


class Dialler:
    """`tls` for https; without it certificates are checked as the system does. Made when it is
    first needed: reading the system's certificates takes longer than a request.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, head_bytes_max: int) -> None:
        self._tls = tls
        self._head_bytes_max = head_bytes_max

    async def dial(
        self,
        origin: Origin,
        address: Address,
        on_lost: Callable[[Connection], None],
        patience: Patience,
    ) -> Connection:
        """
        Raises:
            ConnectFailed, ConnectLate, TotalLate
        """
        end_s = patience.end_of(patience.timeouts.connect_s)
        name = origin.name if address.name == origin.name else f"{origin.name} at {address.name}"

        def made() -> Connection:
            return Connection(name, head_bytes_max=self._head_bytes_max, on_lost=on_lost)

        try:
            async with patience.timeout(end_s):
                connection = await self._connected(origin, address, made)
        except TimeoutError:
            told = f"{name} could not be connected to in time"
            raise patience.lateness(end_s, ConnectLate, told) from None
        except (OSError, UnicodeError) as error:  # no name, refused, or its certificate
            told = f"{name} can't be connected to: {error or type(error).__name__}"
            raise ConnectFailed(told, outcome=patience.outcome) from error
        if not connection.is_free:
            told = f"{name} ended the connection as soon as it was made"
            raise ConnectFailed(told, outcome=patience.outcome)
        return connection

    async def _connected(
        self, origin: Origin, address: Address, made: Callable[[], Connection]
    ) -> Connection:
        loop = asyncio.get_running_loop()
        tls = self._context() if origin.scheme == "https" else None
        server = origin.host if tls else None
        if address.path:
            _, connection = await loop.create_unix_connection(
                made, address.path, ssl=tls, server_hostname=server
            )
        else:
            _, connection = await loop.create_connection(
                made, address.host, address.port, ssl=tls, server_hostname=server
            )
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls
