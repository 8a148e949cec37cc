"""Promise 4 on the node: 100,000 forged, replayed, damaged, truncated, oversized and random frames on MicroPython:
refused, counted, without effect."""

import ast
from pathlib import Path

from tests import mpy

DATA = Path(__file__).parents[1] / "data"
FRAMES = 100_000

SCENARIO = """
import gc
from link_world import KEY, Node, asyncio, ccm, frame, kinds, payload, random, sleep_ms, topics, world

async def main():
    broker, receiver, flash = world(5)
    node = Node(flash, broker, receiver)
    up = []
    broker.on_publish = lambda topic, data: up.append(data)
    node.power_on()
    for i in range(5):
        node.event(kinds.ALARM)
    await sleep_ms(2_000)
    newest = max([frame.parse(data).counter for data in up])

    sent = []
    broker.down = sent.append
    receiver.newest = newest
    receiver.command(kinds.CMD_SILENCE, newest)
    # authentic, for events that are all in the journal: any of its relatives that passed would end them
    receiver.receipt(newest, [1, 2, 3, 4, 5])
    command, receipt = sent
    node.uplink.receive("t", command)  # once is right
    done = len(node.obeyed)
    key = bytes(range(1, 17))

    def damaged(data):
        data = bytearray(data)
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        return bytes(data)

    def tail(data):
        return bytes(data) + bytes(1 + random.randrange(300))

    def noise(_):
        return bytes([random.getrandbits(8) for _ in range(random.randrange(30))])

    def noise_with_head(data):
        return bytes(data[:14]) + bytes([random.getrandbits(8) for _ in range(random.randrange(8, 40))])

    other = topics.node_bytes("a0b1c2d3e4f6")
    real = ccm.CcmKey(KEY)
    strangers = [
        frame.seal_down(ccm.CcmKey(key), kinds.DOWN_RECEIPT, 1, node.uplink._identity.node, 99, 7, bytes(14)),
        frame.seal_down(real, kinds.DOWN_RECEIPT, 2, node.uplink._identity.node, 99, 7, bytes(14)),
        frame.seal_down(real, kinds.DOWN_RECEIPT, 1, other, 99, 7, bytes(14)),
        frame.seal_down(real, kinds.DOWN_RECEIPT, 1, node.uplink._identity.node, 99, 7, bytes(3)),
        frame.seal_down(real, kinds.DOWN_COMMAND, 1, node.uplink._identity.node, 99, 7, bytes(3)),
        frame.seal_down(real, kinds.DOWN_RECEIPT, 1, node.uplink._identity.node, 99, 7,
                        payload.encode_receipt(payload.Receipt(1, newest + 1_000, [1]))),
    ]
    makers = (
        lambda: damaged(receipt),
        lambda: damaged(command),
        lambda: command,
        lambda: receipt[: random.randrange(len(receipt))],
        lambda: tail(receipt),
        lambda: noise(0),
        lambda: noise_with_head(receipt),
        lambda: random.choice(up),
        lambda: random.choice(strangers),
    )
    FRAMES = %d
    before = sum(node.uplink.refused.values())
    gc.collect()
    held = gc.mem_alloc()
    for i in range(FRAMES):
        node.uplink.receive("t", makers[i %% len(makers)]())
    gc.collect()
    refused = sum(node.uplink.refused.values()) - before
    print((len(node.obeyed) - done, len(node.journal.pending()), refused, len(node.times)))
    print(gc.mem_alloc() - held)
    print(sorted(node.uplink.refused))
    receiver.committed.update({n: b"" for n in range(1, 6)})
    node.uplink.receive("t", receipt)
    print(len(node.journal.pending()))

asyncio.run(main())
"""


def test_what_is_not_proven_has_no_effect() -> None:
    out = mpy.run(SCENARIO % FRAMES, paths=[DATA], timeout_s=110)
    (obeyed, pending, refused, times), grown, reasons, left = [ast.literal_eval(line) for line in out.splitlines()]
    assert (obeyed, pending, times) == (0, 5, 0)
    assert refused == FRAMES
    assert grown < 4_096
    assert reasons == [
        "auth",
        "counter",
        "direction",
        "epoch",
        "kind",
        "length",
        "node",
        "payload",
        "replay",
        "version",
    ]
    assert left == 0, "the authentic one passes"
