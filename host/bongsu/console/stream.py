"""The stream of server-sent events to one page."""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send

from bongsu.console.board import Board

# A page that does not take a message for so long is let go; it comes back by itself.
SEND_S = 10.0
# A picture is sent in pieces, so that a slow reader costs the memory of one piece, and not of the picture.
_PIECE = 32 * 1024
_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"))
_RETRY = b"retry: 1000\n\n"


async def stream(
    board: Board, state: dict[str, Any], session_key: str, scope: Scope, receive: Receive, send: Send
) -> None:
    """Send the picture and its changes until the page goes, or must go."""
    work = asyncio.ensure_future(_send_all(board, state, session_key, send))
    gone = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_all(board: Board, state: dict[str, Any], session_key: str, send: Send) -> None:
    me = asyncio.current_task()
    assert me is not None
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    await board.fresh()
    page = board.join(session_key, state, me.cancel)
    try:
        await _write(send, _RETRY)
        while True:
            await _write(send, await page.waiting.get())
    except TimeoutError:
        return
    finally:
        board.leave(page)


async def _write(send: Send, data: bytes) -> None:
    for start in range(0, len(data), _PIECE):
        async with asyncio.timeout(SEND_S):
            await send({"type": "http.response.body", "body": data[start : start + _PIECE], "more_body": True})
