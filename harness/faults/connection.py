"""One connection through the proxy: its two lanes, what is on its way in them, and when it arrives."""

import random
import selectors
import socket
from collections import deque
from collections.abc import Iterator, Sequence

from harness.faults.link import Deafen, Direction, Fault, Reset, Send, Shape, Step

#: Bytes read at once, and bytes on their way above which nothing more is read.
CHUNK = 64 * 1024
_BACKLOG = 4 * 1024 * 1024


class Lane:
    """Bytes from ``source`` to ``sink``, in the order in which they came."""

    def __init__(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        self.direction = direction
        self.source = source
        self.sink = sink
        #: What is to happen when, data None for the end of the stream.
        self.queue: deque[tuple[float, bytes | None]] = deque()
        self.reset_at_s: float | None = None
        self.heard_end = False
        self.told_end = False
        self.blocked = False
        self._last_s = 0.0
        self._waiting = 0

    def add(self, at_s: float, data: bytes | None) -> None:
        """Put something behind what is there: nothing overtakes in TCP."""
        self._last_s = max(self._last_s, at_s)
        self._waiting += len(data or b"")
        self.queue.append((self._last_s, data))

    def reset(self, at_s: float) -> None:
        """Have the connection end when what is on its way here has arrived."""
        self.reset_at_s = max(self._last_s, at_s)

    def hurry(self, now_s: float) -> None:
        """Let all that waits arrive now."""
        self.queue = deque((min(at_s, now_s), data) for at_s, data in self.queue)
        self._last_s = now_s

    def deliver(self, now_s: float) -> None:
        """Hand over what is due. Raises OSError where the sink is gone."""
        self.blocked = False
        while self.queue and self.queue[0][0] <= now_s:
            at_s, data = self.queue.popleft()
            if data is None:
                self.told_end = True
                self.sink.shutdown(socket.SHUT_WR)
                continue
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                sent = 0
            self._waiting -= sent
            if sent < len(data):
                self.queue.appendleft((at_s, data[sent:]))
                self.blocked = True
                return

    def due_s(self) -> Iterator[float]:
        """When there is something to do without being told that a socket is ready."""
        if self.queue and not self.blocked:
            yield self.queue[0][0]
        if self.reset_at_s is not None:
            yield self.reset_at_s

    @property
    def full(self) -> bool:
        """Whether so much is on its way that nothing more may set out."""
        return self._waiting > _BACKLOG


class Connection:
    """The sockets to both sides. ``deaf`` once nothing passes any more and neither side was informed."""

    def __init__(
        self, client: socket.socket, server: socket.socket, rng: random.Random, faults: Sequence[Fault]
    ) -> None:
        for side in (client, server):
            side.setblocking(False)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sides = (client, server)
        self.deaf = False
        #: Deaf, and who connected has given up; the server knows nothing of it.
        self.abandoned = False
        self._rng = rng
        self._lanes = (Lane(Direction.REQUEST, client, server), Lane(Direction.REPLY, server, client))
        self._shapes: list[Shape] = [fault.shape(rng) for fault in faults]

    def change(self, faults: Sequence[Fault], now_s: float) -> None:
        """Other faults from now on; what those before held back arrives now."""
        self._shapes = [fault.shape(self._rng) for fault in faults]
        for lane in self._lanes:
            lane.hurry(now_s)

    def lane_from(self, side: socket.socket) -> Lane:
        """The lane whose bytes come from ``side``."""
        return self._lanes[self.sides.index(side)]

    def receive(self, lane: Lane, now_s: float) -> None:
        """Read what has come and decide what becomes of it. Raises OSError where the source has reset."""
        try:
            data = lane.source.recv(CHUNK)
        except BlockingIOError:
            return
        if not data:
            lane.heard_end = True
            if self.deaf:
                self.abandoned = True
            else:
                lane.add(now_s, None)
            return
        if self.deaf:
            return
        steps: list[Step] = [Send(data, now_s)]
        for shape in self._shapes:
            steps = [after for step in steps for after in _next(shape, lane.direction, step)]
        for step in steps:
            match step:
                case Send(part, at_s):
                    lane.add(at_s, part)
                case Reset(at_s):
                    lane.reset(at_s)
                case Deafen():
                    self.deaf = True
                    for each in self._lanes:
                        each.queue.clear()

    def deliver(self, now_s: float) -> bool:
        """Do what is due; returns whether the connection is to be reset. Raises OSError."""
        for lane in self._lanes:
            lane.deliver(now_s)
        return any(lane.reset_at_s is not None and lane.reset_at_s <= now_s for lane in self._lanes)

    def due_s(self) -> float:
        """When there is something to do without being told that a socket is ready."""
        return min((at_s for lane in self._lanes for at_s in lane.due_s()), default=float("inf"))

    @property
    def over(self) -> bool:
        """Whether both sides have said their last."""
        return all(lane.told_end for lane in self._lanes)

    def interests(self) -> Iterator[tuple[socket.socket, int]]:
        """Each socket with what the selector is to tell of it."""
        reads = {lane.source: not lane.heard_end and not lane.full for lane in self._lanes}
        writes = {lane.sink: lane.blocked for lane in self._lanes}
        for side in self.sides:
            yield side, selectors.EVENT_READ * reads[side] | selectors.EVENT_WRITE * writes[side]


def _next(shape: Shape, direction: Direction, step: Step) -> Sequence[Step]:
    return shape(direction, step.data, step.at_s) if isinstance(step, Send) else (step,)
