"""The fire station of the benchmark: answers every POST with 200 and notes when, by the system-wide monotonic clock.

Prints "ready port=N". GET /received answers {"count": nodes, "again": posts beyond the first for a node}; GET
/received?times adds "times": {node: ns}. It runs on the same small HTTP server as `bongsu sim station` and checks no
signatures, so that the time measured is the sender's.
"""

import asyncio
import json
import time

from bongsu.sim.http_peer import Peer, Reply, Request, serve


class Sink:
    """Notes the first alarm of each node."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        self.again = 0
        self.peer = Peer(self._control, self._take)

    def _control(self, request: Request) -> Reply:
        times = {"times": self.times} if request.path.endswith("?times") else {}
        return Reply(200, {"count": len(self.times), "again": self.again, **times})

    def _take(self, request: Request) -> Reply:
        report = json.loads(request.body)
        if not report["type"].endswith(".alarm"):
            return Reply(200)
        node = report["data"]["node"]
        if node in self.times:
            self.again += 1
        self.times.setdefault(node, time.monotonic_ns())
        return Reply(200)


if __name__ == "__main__":
    asyncio.run(serve(Sink().peer, 0, lambda port: print(f"ready port={port}", flush=True)))
