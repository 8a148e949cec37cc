# One random storm per seed over the model world: lost and delayed messages, breaking connections, 1-byte reads,
# restarts of the node, replayed and forged receipts; then calm. Prints one JSON line per seed. Arguments: first seed,
# number of seeds.
import json

from link_world import *  # noqa: F403  (it must be imported before asyncio, and brings that along)
from link_world import Node, Trouble, asyncio, random, sleep_ms, sys, vtime, world

ACTS = 40
CALM_MS = 300_000


class Storm:
    def __init__(self, seed):
        self.trouble = Trouble(loss=0.2, breaks=0.06, delay_ms=400)
        self.broker, self.receiver, self.flash = world(seed, self.trouble)
        self.refused = 0
        self.node = None

    def start_node(self):
        self.node = Node(self.flash, self.broker, self.receiver)
        self.node.power_on()

    async def restart_node(self):
        await self.node.power_off()
        self.refused += sum(self.node.uplink.refused.values())
        self.start_node()

    def strange_receipt(self):
        """A stranger's receipt for what the journal holds, or an old one: whole, damaged or cut."""
        if not self.receiver.receipts or not random.randrange(3):
            self.broker.down(self.receiver.forged(sorted(self.flash.events)))
            return
        data = bytearray(random.choice(self.receiver.receipts))
        if random.randrange(2):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        self.broker.down(bytes(data[: random.randrange(len(data) + 1)] if not random.randrange(4) else data))

    async def act(self):
        await sleep_ms(random.randrange(8_000))
        dice = random.randrange(10)
        if dice < 6:
            self.node.event(random.choice((1, 2, 3, 4)))
        elif dice == 6:
            self.broker.drop()
        elif dice == 7:
            await self.restart_node()
        elif dice == 8:
            self.broker.reachable = not self.broker.reachable
        else:
            self.strange_receipt()

    async def run(self):
        self.start_node()
        for _ in range(ACTS):
            await self.act()
        self.trouble.calm()
        self.broker.reachable = True
        end = vtime.now_ms + CALM_MS
        while self.flash.events and vtime.now_ms < end:
            await sleep_ms(100)
        await self.node.power_off()
        return {
            "events": self.flash.event_number,
            "committed": len(self.receiver.committed),
            "left": len(self.flash.events),
            "wrong": self.receiver.wrong,
            "refused": self.refused + sum(self.node.uplink.refused.values()),
        }


for seed in range(int(sys.argv[1]), int(sys.argv[1]) + int(sys.argv[2])):
    result = asyncio.run(Storm(seed).run())
    result["seed"] = seed
    print(json.dumps(result))
