"""A line that is long, narrow, or cut: what lies between a retailer and the coordinator.

It carries the bytes of TCP connections as they are, so TLS goes through. A cut line takes nothing
and says nothing, as a cable that was pulled out; what was on its way arrives when it is healed.
`tc netem` does the same to a network device, where the kernel has it; this needs no right at all.
"""

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from contextlib import suppress

_PIECE = 64 * 1024
_ON_THE_WAY = 1024  # pieces, each way


class SlowLine:
    """Listens on `port` of this machine and carries everything to another port of it.

    delay_s: of each direction, half of a round trip. bytes_per_s: of each direction; 0: as quick
    as it goes.
    """

    def __init__(self, to: int, delay_s: float = 0.0, bytes_per_s: float = 0.0) -> None:
        self.delay_s, self.bytes_per_s = delay_s, bytes_per_s
        self._to = to
        self._whole = asyncio.Event()
        self._whole.set()
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(
            asyncio.start_server(self._connected, "127.0.0.1", 0)
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Carries nothing until it is healed."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def heal(self) -> None:
        """Carries what was on its way, and all that follows."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def close(self) -> None:
        """Ends every connection."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        here = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not here]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # in which what was closed is let go

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        ways = (self._carry(reader, far_writer), self._carry(far_reader, writer))
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*ways)

    async def _carry(self, reader: StreamReader, writer: StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY)
        taking = asyncio.create_task(self._take(reader, pieces))
        try:
            with suppress(OSError):
                await self._give(pieces, writer)
        finally:
            taking.cancel()
            writer.close()

    async def _take(
        self, reader: StreamReader, pieces: "asyncio.Queue[tuple[float, bytes]]"
    ) -> None:
        piece = b"?"
        while piece:
            try:
                piece = await reader.read(_PIECE)
            except OSError:
                piece = b""
            await pieces.put((self._loop.time() + self.delay_s, piece))

    async def _give(
        self, pieces: "asyncio.Queue[tuple[float, bytes]]", writer: StreamWriter
    ) -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._whole.wait()
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
            if self.bytes_per_s:
                await asyncio.sleep(len(piece) / self.bytes_per_s)
