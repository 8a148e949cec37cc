"""What waits to be published, and what waits for its PUBACK: bounded, alarms first, in order. Pure: no sockets, no
clock.

QoS 1 messages stay here until the broker's PUBACK and are sent again, in the order of their first sending, when a
connection ends before it (MQTT 3.1.1, 4.4 and 4.6). A PUBACK is not the receiver's receipt: whether an event is done is
for the uplink and the journal to know.
"""


class QueueFull(Exception):
    """No place, and nothing of lesser importance to give one up."""


class Ticket:
    """One message to publish. `acked`: the broker's PUBACK came (QoS 1). `dropped`: it will not be sent (any more).
    `sent`: times it was written."""

    def __init__(self, topic: str, payload: bytes, qos: int, urgent: bool) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.urgent = urgent
        self.packet_id = 0
        self.sent = 0
        self.sent_ms = 0
        self.dup = False
        self.acked = False
        self.dropped = False
        self._withdrawn = False

    def withdraw(self) -> None:
        """Send it no more: for a publisher that has something fresher to say. A PUBACK that is under way is still
        awaited on this connection."""
        self._withdrawn = True

    @property
    def withdrawn(self) -> bool:
        return self._withdrawn


class SendQueue:
    """`capacity`: messages held in all; `window`: QoS 1 messages that may await their PUBACK before another one that is
    not urgent goes."""

    def __init__(self, capacity: int = 16, window: int = 8) -> None:
        self._capacity = capacity
        self._window = window
        self._urgent = []
        self._normal = []
        self._again = []  # sent on an earlier connection, to be sent again before anything else
        self._inflight = []  # sent on this connection, PUBACK awaited; oldest first
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._normal) + len(self._again) + len(self._inflight)

    @property
    def free(self) -> int:
        """Places left."""
        return self._capacity - len(self)

    def takes(self, urgent: bool) -> bool:
        """Whether add() takes a message now."""
        return self.free > 0 or (urgent and bool(self._normal))

    def add(self, ticket: Ticket) -> None:
        """Queue a message. An urgent one takes the place of the newest that is neither urgent nor sent. Raises
        QueueFull."""
        if not self.takes(ticket.urgent):
            raise QueueFull
        if self.free <= 0:
            self._normal.pop().dropped = True
        (self._urgent if ticket.urgent else self._normal).append(ticket)

    def next(self, now_ms: int):
        """The ticket to send now (it counts as sent), or None. `now_ms`: ticks."""
        ticket = self._pick()
        if ticket is None:
            return None
        if ticket.qos and not ticket.packet_id:
            ticket.packet_id = self.new_packet_id()
        if ticket.qos:
            self._inflight.append(ticket)
        ticket.sent += 1
        ticket.sent_ms = now_ms
        return ticket

    def _pick(self):
        for waiting in (self._again, self._urgent, self._normal):
            while waiting and waiting[0].withdrawn:
                waiting.pop(0).dropped = True
            if waiting and (not waiting[0].qos or waiting[0].urgent or len(self._inflight) < self._window):
                return waiting.pop(0)
        return None

    def new_packet_id(self) -> int:
        """A packet identifier that no message here uses (2.3.1: 1..65535)."""
        used = [t.packet_id for t in self._again] + [t.packet_id for t in self._inflight]
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in used:
                return self._last_id

    def acked(self, packet_id: int) -> bool:
        """Note a PUBACK. False if nothing waits for it: brokers may repeat themselves, strangers may guess."""
        for ticket in self._inflight:
            if ticket.packet_id == packet_id:
                self._inflight.remove(ticket)
                ticket.acked = True
                return True
        return False

    def oldest_sent_ms(self):
        """Ticks at which the longest unacknowledged message was sent, or None."""
        return self._inflight[0].sent_ms if self._inflight else None

    def connection_lost(self) -> None:
        """Nothing sent so far can be acknowledged any more. QoS 0 messages that wait are dropped: what they say grows
        stale."""
        self._again = [t for t in self._inflight + self._again if not self._stale(t)]
        self._inflight = []
        self._urgent = [t for t in self._urgent if not self._stale(t)]
        self._normal = [t for t in self._normal if not self._stale(t)]

    def _stale(self, ticket: Ticket) -> bool:
        if ticket.qos and not ticket.withdrawn:
            return False
        ticket.dropped = True
        return True

    def connected(self, session_present: bool) -> None:
        """Sent messages go again, marked DUP if the broker kept the session (3.3.1.1); for a fresh session they are new
        messages."""
        for ticket in self._again:
            ticket.dup = session_present
