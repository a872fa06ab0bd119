# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""Streams of a session (section B.9): order, retransmission and flow control."""

from .handshake import CANCELLED, OWN_LIMITS
from .wire import Malformed, MaxStreamData, ResetStream, StopSending, StreamData

MAX_UNSENT = 1 << 20


class Ranges:
    """A set of integers, as ranges [start, end) in ascending order."""

    def __init__(self):
        self._ranges = []

    def __iter__(self):
        return iter(list(self._ranges))

    def __len__(self):
        return len(self._ranges)

    def __contains__(self, number):
        return any(start <= number < end for start, end in self._ranges)

    def add(self, start, end):
        if start >= end:
            return
        touching = [r for r in self._ranges if r[0] <= end and start <= r[1]]
        others = [r for r in self._ranges if r not in touching]
        merged = (min([start] + [r[0] for r in touching]), max([end] + [r[1] for r in touching]))
        self._ranges = sorted([*others, merged])

    def remove(self, start, end):
        pieces = [piece for s, e in self._ranges for piece in ((s, min(e, start)), (max(s, end), e))]
        self._ranges = [(s, e) for s, e in pieces if s < e]

    def first(self):
        return self._ranges[0] if self._ranges else None

    def clear(self):
        self._ranges = []


class Reassembly:
    """Bytes that arrive in any order."""

    def __init__(self):
        self.next = 0
        self._buffer = bytearray()
        self._present = Ranges()

    def add(self, offset, data):
        """Adds a piece; returns the bytes that are now in order."""
        data = data[max(0, self.next - offset) :]
        if data:
            start = max(offset, self.next) - self.next
            end = start + len(data)
            self._buffer.extend(bytes(max(0, end - len(self._buffer))))
            self._buffer[start:end] = data
            self._present.add(self.next + start, self.next + end)
        if len(self._present) > 4_097:
            raise Malformed("too many pieces of a stream")
        first = self._present.first()
        if first is None or first[0] != self.next:
            return b""
        self._present.remove(*first)
        ready = bytes(self._buffer[: first[1] - self.next])
        del self._buffer[: len(ready)]
        self.next = first[1]
        return ready


class StreamReset(Exception):
    def __init__(self, code):
        super().__init__(f"the stream was reset with code {code}")
        self.code = code


class Stream:
    """One stream. The methods without underscore up to `close` are for applications; they block.

    All state is guarded by the condition of the session.
    """

    def __init__(self, session, number):
        self.number = number
        self.is_open = False
        self.error = None
        self._session = session
        # Sending: the bytes from `_start` on, which the peer has not acknowledged.
        self.send_limit = session.peer_limits.max_stream_data
        self._start = 0
        self._bytes = bytearray()
        self.sent = 0
        self._lost = Ranges()
        self._acknowledged = Ranges()
        self._is_finished = self._fin_sent = self._fin_acknowledged = False
        self._reset_sent = self._reset_acknowledged = False
        # Receiving
        self._receive_limit = OWN_LIMITS.max_stream_data
        self._reassembly = Reassembly()
        self._readable = bytearray()
        self._highest = self._consumed = 0
        self._final_size = None

    # For applications

    def read(self, count=1 << 16):
        """Returns some bytes, or none at the end of the stream."""
        with self._session.changed:
            self._wait(lambda: self._readable or self._final_size == self._reassembly.next)
            data = bytes(self._readable[:count])
            del self._readable[:count]
            self._consume(len(data))
            return data

    def read_to_end(self):
        data = bytearray()
        while piece := self.read():
            data += piece
        return bytes(data)

    def read_exactly(self, count):
        data = bytearray()
        while len(data) < count and (piece := self.read(count - len(data))):
            data += piece
        return bytes(data)

    def write(self, data):
        with self._session.changed:
            for offset in range(0, len(data), 1 << 16):
                self._wait(lambda: len(self._bytes) < MAX_UNSENT)
                self._bytes += data[offset : offset + (1 << 16)]
                self._session.changed.notify_all()

    def finish(self):
        """Ends the direction to the peer, after all bytes."""
        with self._session.changed:
            self._is_finished = True
            self._session.changed.notify_all()

    def reset(self, code=CANCELLED):
        with self._session.changed:
            self._abort(code)
            self._check_ended()

    def wait_until_open(self):
        with self._session.changed:
            self._wait(lambda: self.is_open, timeout=30)

    def _wait(self, condition, timeout=None):
        """Waits until the condition holds; raises StreamReset if the stream was aborted."""
        if not self._session.changed.wait_for(lambda: self.error is not None or condition(), timeout):
            raise TimeoutError
        if self.error is not None:
            raise StreamReset(self.error)

    # Sending

    def skip(self, count):
        """The peer has got the first bytes by other means."""
        self._start = self.sent = count
        self._acknowledged.add(0, count)
        self._session.count_sent(count)

    def next_frame(self, budget, session_credit):
        """Returns the next frame to send with at most `budget` bytes of data, or None."""
        total = self._start + len(self._bytes)
        if self._reset_sent:
            return None
        if lost := self._lost.first():
            start, end = lost[0], min(lost[1], lost[0] + budget)
            self._lost.remove(start, end)
        else:
            start = self.sent
            end = self.sent = max(start, min(total, start + budget, self.send_limit, start + session_credit))
        fin = self._is_finished and end == total
        if start == end and (not fin or self._fin_sent):
            return None
        self._fin_sent |= fin
        return StreamData(self.number, start, bytes(self._bytes[start - self._start : end - self._start]), fin)

    def delivered(self, frame):
        """A frame of this stream was acknowledged."""
        if isinstance(frame, ResetStream):
            self._reset_acknowledged = True
        elif isinstance(frame, StreamData):
            self._acknowledged.add(frame.offset, frame.end)
            self._lost.remove(frame.offset, frame.end)
            start, end = self._acknowledged.first() or (0, 0)
            if start == 0 and end > self._start:
                del self._bytes[: end - self._start]
                self._start = end
            self._fin_acknowledged |= frame.fin
        self._check_ended()

    def lost(self, frame):
        """A frame of this stream was lost."""
        if isinstance(frame, ResetStream) or isinstance(frame, StopSending) and self._final_size is None:
            self._session.send(frame)
        elif isinstance(frame, MaxStreamData):
            self._session.send(MaxStreamData(self.number, self._receive_limit))
        elif isinstance(frame, StreamData):
            self._lost.add(frame.offset, frame.end)
            for acknowledged in self._acknowledged:
                self._lost.remove(*acknowledged)
            if frame.fin and not self._fin_acknowledged:
                self._fin_sent = False

    # Receiving

    def received(self, frame):
        match frame:
            case StreamData():
                self._reach(frame.end, is_final=frame.fin)
                self.is_open = True
                ready = self._reassembly.add(frame.offset, frame.data)
                if self.error is None:
                    self._readable += ready
            case ResetStream():
                self._reach(frame.final_size, is_final=True)
                self._abort(frame.code)
            case StopSending():
                self._abort(frame.code)
            case MaxStreamData():
                self.send_limit = max(self.send_limit, frame.limit)
        self._check_ended()

    def _reach(self, end, is_final):
        """Checks the end of received data, and counts it against the credit."""
        if self._final_size is not None and (end > self._final_size or is_final and end != self._final_size):
            raise Malformed("data beyond the final size, or two final sizes")
        if is_final and end < self._highest:
            raise Malformed("the final size is below data that was received")
        if end > self._receive_limit:
            raise Malformed("data beyond the credit of the stream")
        self._session.count_received(max(0, end - self._highest))
        self._highest = max(self._highest, end)
        if is_final:
            self._final_size = end

    def _consume(self, count):
        self._consumed += count
        self._session.consume(count)
        window = OWN_LIMITS.max_stream_data
        if self._final_size is None and self.error is None and self._receive_limit - self._consumed < window // 2:
            self._receive_limit = self._consumed + window
            self._session.send(MaxStreamData(self.number, self._receive_limit))

    # Ends

    def _abort(self, code):
        if self.error is None:
            self.error = code
        if not self._reset_sent:
            self._reset_sent = True
            self._session.send(ResetStream(self.number, code, self.sent))
            if self._final_size is None:
                self._session.send(StopSending(self.number, code))
        self._readable.clear()

    def session_ended(self, code):
        if self.error is None:
            self.error = code

    def _check_ended(self):
        if self.error is not None and self._final_size is not None:
            self._consume(self._final_size - self._consumed)
        received = self._final_size is not None and (self._reset_sent or self._final_size == self._reassembly.next)
        if received and (self._reset_acknowledged if self._reset_sent else self._fin_acknowledged):
            self._session.stream_ended(self)
