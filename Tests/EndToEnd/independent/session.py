# This source file is part of the nws open source project
# SPDX-License-Identifier: MIT
"""The state of a session that client and exit have in common: packets, paths, loss, and keys (sections B.6 to B.12)."""

import threading
import time
from dataclasses import dataclass

from .crypto import decrypt, encrypt
from .handshake import OWN_LIMITS, PEER_LOST, PROTOCOL_VIOLATION, NO_ERROR
from .relay import receiver, signed_event
from .streams import Ranges, Reassembly
from .wire import (
    FROM_CLIENT,
    FROM_EXIT,
    NOT_ELICITING,
    Ack,
    Candidates,
    ConnectionClose,
    Crypto,
    ImmediateAck,
    Malformed,
    MaxData,
    MaxStreamData,
    NewConnectionID,
    Padding,
    Ping,
    Reader,
    ResetStream,
    RetireConnectionID,
    StopSending,
    StreamData,
    decode_frames,
    decode_packet,
    encode_frame,
    encode_packet,
)

MAX_FRAMES = 32_000
"""Bytes of frames in a packet. With header and ACK, a packet stays below 40,960 bytes."""

DIRECT_PATH, MAX_DIRECT_FRAMES = 16, 1_100
ACK_DELAY = 0.02
KEEP_ALIVE = 30
PEER_LOST_AFTER = 180
OLD_KEYS = 10
MIN_WINDOW, MAX_WINDOW = 1 << 16, 1 << 20


@dataclass
class SentPacket:
    time: float
    size: int
    frames: list


class Path:
    """One relay, with its packet numbers, round-trip time and congestion window."""

    def __init__(self, number, relay, is_first=False):
        self.number = number
        self.relay = relay
        self.is_usable = is_first
        self.probe_at = None
        self.next_number = 0
        self.in_flight = {}
        self.received = Ranges()
        self.largest_received_at = 0.0
        self.to_acknowledge = 0
        self.acknowledge_at = None
        self._largest_acknowledged = -1
        self._rtt = self._lowest_rtt = None
        self._timeouts = 0
        self._window = 1 << 17

    def has_room(self):
        return self.is_usable and self.relay.is_open and self.bytes_in_flight() < self._window

    def bytes_in_flight(self):
        return sum(packet.size for packet in self.in_flight.values())

    def acknowledged(self, ack, now):
        """Returns the packets that were not acknowledged before."""
        numbers = [n for n in self.in_flight if any(first <= n <= last for first, last in ack.ranges)]
        packets = [self.in_flight.pop(number) for number in numbers]
        if packets:
            self._largest_acknowledged = max(self._largest_acknowledged, *numbers)
            self._timeouts = 0
            if numbers[-1] == ack.ranges[0][1]:
                self._measured(now - packets[-1].time - min(ack.delay / 1e6, 1.0), sum(p.size for p in packets))
        return packets

    def _measured(self, rtt, size):
        """Grows the window while the delay stays low, and shrinks it when relays begin to queue."""
        rtt = max(rtt, 0.001)
        self._rtt = rtt if self._rtt is None else 0.875 * self._rtt + 0.125 * rtt
        self._lowest_rtt = min(rtt, self._lowest_rtt or rtt)
        target = self._window + size if rtt < 1.25 * self._lowest_rtt + 0.05 else self._window - size / 4
        self._window = min(MAX_WINDOW, max(MIN_WINDOW, target))

    def lost(self, now):
        """Removes and returns the packets that are considered lost."""
        rtt = self._rtt or 0.5
        timeout = max(0.25, 2 * rtt) * 2 ** min(self._timeouts, 4)

        def is_lost(number, packet):
            limit = 9 / 8 * rtt + ACK_DELAY if number < self._largest_acknowledged else timeout
            return not self.relay.is_open or now - packet.time > limit

        numbers = [number for number, packet in self.in_flight.items() if is_lost(number, packet)]
        if numbers:
            self._timeouts += 1
            self._window = max(MIN_WINDOW, self._window / 2)
        return [self.in_flight.pop(number) for number in numbers]

    def take_ack(self, now):
        ranges = [(start, end - 1) for start, end in self.received][::-1][:64]
        self.to_acknowledge, self.acknowledge_at = 0, None
        return Ack(self.number, int((now - self.largest_received_at) * 1e6), ranges)


class Session:
    """Both sides. Subclasses handle the frames that only one side may send."""

    is_client = None

    def __init__(self, generation, peer_limits):
        self.changed = threading.Condition()
        """Guards all state of the session and its streams"""
        self.peer_limits = peer_limits
        self.paths = {}
        self.streams = {}
        self.ended_streams = Ranges()
        self.close_code = None
        self.sending = generation
        self.generations = {generation.own.public.hex(): generation}
        self.newest_received = generation.number
        self._erase_at = None
        self._outgoing = []
        self._crypto_sent = 0
        self._crypto_received = Reassembly()
        self._crypto_buffer = b""
        self._send_limit = peer_limits.max_data
        self._sent = 0
        self._receive_limit = OWN_LIMITS.max_data
        self._received = self._consumed = 0
        self._last_received = self._last_ping = time.monotonic()
        self.waiting_since = None
        """When the first packet was sent that the peer has not answered in any way"""

    @property
    def is_closed(self):
        return self.close_code is not None

    def start(self):
        threading.Thread(target=self._run, daemon=True).start()

    def wait_for(self, condition, timeout=30):
        """Waits until the condition holds, which is checked whenever the session changes."""
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise TimeoutError

    def relay_closed(self):
        with self.changed:
            self.changed.notify_all()

    # Sending

    def send(self, frame):
        """Sends a frame with the next packet."""
        self._outgoing.append(frame)
        self.changed.notify_all()

    def send_packet(self, path, frames):
        """Sends a packet; returns its number."""
        now = time.monotonic()
        if path.acknowledge_at is not None and not any(isinstance(frame, Ack) for frame in frames):
            frames = [path.take_ack(now), *frames]
        return self.send_encoded(path, b"".join(map(encode_frame, frames)), frames)

    def send_encoded(self, path, data, frames=()):
        """Sends a packet with any content; `frames` are those in it whose loss matters."""
        number = path.next_number
        path.next_number += 1
        if any(not isinstance(frame, NOT_ELICITING) for frame in frames):
            self.waiting_since = self.waiting_since or time.monotonic()
            path.in_flight[number] = SentPacket(time.monotonic(), len(data), list(frames))
        if path.number == DIRECT_PATH:
            path.send(number, data)
            return number
        packet = encode_packet(FROM_CLIENT if self.is_client else FROM_EXIT, path.number, number, data)
        key = self.sending.client_key if self.is_client else self.sending.exit_key
        path.relay.publish(signed_event(self.sending.own, self.sending.peer, encrypt(key, packet)))
        return number

    def send_crypto(self, data):
        self.send(Crypto(self._crypto_sent, data))
        self._crypto_sent += len(data)

    def close(self, code=NO_ERROR, reason=""):
        """Closes the session and tells the peer."""
        with self.changed:
            if not self.is_closed:
                for path in self.paths.values():
                    if path.relay.is_open:
                        self.send_packet(path, [ConnectionClose(code, reason)])
                self._end(code)

    def _end(self, code):
        self.close_code = code
        if direct := self.paths.get(DIRECT_PATH):
            direct.close()
        for stream in self.streams.values():
            stream.session_ended(code)
        self.changed.notify_all()

    def before_frame(self, frame):
        """Returns frames that must precede a frame in its packet."""
        return []

    def _run(self):
        with self.changed:
            while not self.is_closed:
                now = time.monotonic()
                for path in self.paths.values():
                    for packet in path.lost(now):
                        for frame in packet.frames:
                            self.lost(frame)
                self._send_probes(now)
                self._send_data()
                self._send_acks(now)
                self.timers(now)
                times = [path.acknowledge_at for path in self.paths.values() if path.acknowledge_at is not None]
                self.changed.wait(min([0.05, *(at - now for at in times)]))

    def _send_probes(self, now):
        for path in self.paths.values():
            if path.probe_at is not None and now >= path.probe_at and not path.is_usable and path.relay.is_open:
                path.probe_at = now + 1
                self.send_packet(path, [Ping()])

    def _send_data(self):
        direct = self.paths.get(DIRECT_PATH)
        if direct and not direct.is_usable:
            direct = None
        while direct and direct.has_room() and (frames := self._next_frames(MAX_DIRECT_FRAMES)):
            self.send_packet(direct, frames)
        while True:
            paths = [path for path in self.paths.values() if path.number != DIRECT_PATH and path.has_room()]
            # While the direct path delivers, relays carry only what is too large for it.
            frames = self._next_frames(MAX_FRAMES, with_streams=direct is None) if paths else []
            if not frames:
                return
            self.send_packet(min(paths, key=Path.bytes_in_flight), frames)

    def _next_frames(self, left, with_streams=True):
        frames = []
        while self._outgoing:
            more = [*self.before_frame(self._outgoing[0]), self._outgoing[0]]
            size = sum(len(encode_frame(frame)) for frame in more)
            if size > left:
                break
            self._outgoing.pop(0)
            frames += more
            left -= size
        return frames + (self._stream_frames(left) if with_streams else [])

    def _stream_frames(self, left):
        frames = []
        for stream in list(self.streams.values()):
            sent = stream.sent
            while left > 100 and (frame := stream.next_frame(left - 100, self._send_limit - self._sent)):
                self._sent += stream.sent - sent
                sent = stream.sent
                frames.append(frame)
                left -= len(encode_frame(frame))
        return frames

    def _send_acks(self, now):
        for path in self.paths.values():
            if path.acknowledge_at is not None and now >= path.acknowledge_at:
                open_paths = [path, *self.paths.values()]
                carrier = next((path for path in open_paths if path.relay.is_open), None)
                if carrier:
                    self.send_packet(carrier, [path.take_ack(now)])

    def timers(self, now):
        if self._erase_at is not None and now >= self._erase_at:
            self._erase_at = None
            # The peer may have requested the next generation already.
            self.generations = {
                key: generation
                for key, generation in self.generations.items()
                if generation.number >= self.sending.number
            }
            self.changed.notify_all()
        if now - self._last_received > PEER_LOST_AFTER:
            self._end(PEER_LOST)
        elif self.streams and now - max(self._last_received, self._last_ping) > KEEP_ALIVE:
            self._last_ping = now
            self.send(Ping())

    # Acknowledgement and loss

    def _handle_ack(self, ack, now):
        path = self.paths.get(ack.path)
        if path is None:
            return
        if ack.ranges[0][1] >= path.next_number:
            raise Malformed("an ACK of a packet that was never sent")
        for packet in path.acknowledged(ack, now):
            for frame in packet.frames:
                path.is_usable |= isinstance(frame, Ping)
                self.delivered(frame)

    def delivered(self, frame):
        """A frame was acknowledged."""
        if stream := self.streams.get(getattr(frame, "stream", None)):
            stream.delivered(frame)

    def lost(self, frame):
        """A frame was lost. Sends it again where section B.8 says so."""
        match frame:
            case StreamData() | ResetStream() | StopSending() | MaxStreamData():
                if stream := self.streams.get(frame.stream):
                    stream.lost(frame)
                elif isinstance(frame, ResetStream):
                    self.send(frame)
            case MaxData():
                self.send(MaxData(self._receive_limit))
            case Crypto() | NewConnectionID() | RetireConnectionID() | Candidates():
                self.send(frame)

    # Receiving

    def receive(self, relay, event):
        """Processes an event for one of the session keys."""
        with self.changed:
            generation = self.generations.get(receiver(event))
            if self.is_closed or generation is None:
                return
            try:
                packet = decrypt(generation.exit_key if self.is_client else generation.client_key, event["content"])
                kind, path_number, number, data = decode_packet(packet)
            except ValueError:
                return
            path = self.paths.get(path_number)
            if kind != (FROM_EXIT if self.is_client else FROM_CLIENT) or path is None or path.relay is not relay:
                return
            if number not in path.received:
                try:
                    self._receive_packet(generation, path, number, decode_frames(data))
                except Malformed as error:
                    self.close(PROTOCOL_VIOLATION, str(error))
            self.changed.notify_all()

    def receive_datagram(self, generation, path, number, frames):
        """Processes a packet of the direct path."""
        try:
            self._receive_packet(generation, path, number, frames)
        except Malformed as error:
            self.close(PROTOCOL_VIOLATION, str(error))

    def _receive_packet(self, generation, path, number, frames):
        if not self.may_process(frames):
            return
        now = self._last_received = time.monotonic()
        self.waiting_since = None
        if path.received.first() is None or number >= max(end for _, end in path.received):
            path.largest_received_at = now
        path.received.add(number, number + 1)
        self._note_generation(generation, now)
        self.received_on(path)
        acknowledged = [frame.path for frame in frames if isinstance(frame, Ack)]
        if len(acknowledged) != len(set(acknowledged)):
            raise Malformed("two ACKs for one path")
        if any(not isinstance(frame, NOT_ELICITING) for frame in frames):
            path.to_acknowledge += 1
            at_once = path.to_acknowledge >= 16 or any(isinstance(frame, (Ping, ImmediateAck)) for frame in frames)
            path.acknowledge_at = now if at_once else path.acknowledge_at or now + ACK_DELAY
        for frame in frames:
            if self.is_closed:
                return
            self.handle(frame, now)

    def may_process(self, frames):
        """Returns whether a packet may be processed now, rather than when it is sent again."""
        return True

    def received_on(self, path):
        """A packet arrived on the path."""

    def handle(self, frame, now):
        match frame:
            case Padding() | Ping() | ImmediateAck():
                pass
            case Ack():
                self._handle_ack(frame, now)
            case ConnectionClose():
                self._end(frame.code)
            case MaxData():
                self._send_limit = max(self._send_limit, frame.limit)
            case Crypto():
                self._handle_crypto(frame)
            case NewConnectionID() | RetireConnectionID() | Candidates():
                self.handle_direct(frame)
            case StreamData() | ResetStream() | StopSending() | MaxStreamData():
                if stream := self.streams.get(frame.stream):
                    stream.received(frame)
                elif frame.stream and frame.stream not in self.ended_streams:
                    self.handle_unknown_stream(frame)
            case _:
                raise Malformed("a frame of the wrong side")

    def _handle_crypto(self, frame):
        if frame.offset + len(frame.data) > self._crypto_received.next + 8_192:
            raise Malformed("CRYPTO data too far ahead")
        self._crypto_buffer += self._crypto_received.add(frame.offset, frame.data)
        reader = Reader(self._crypto_buffer)
        try:
            kind, fields = reader.varint(), reader.block()
        except Malformed:
            return  # The rest of the message follows.
        self._crypto_buffer = reader.rest()
        self.handle_update(kind, fields)

    def handle_update(self, kind, fields):
        """Handles a message of a key update."""
        raise NotImplementedError

    def handle_unknown_stream(self, frame):
        raise NotImplementedError

    def handle_direct(self, frame):
        """Handles a frame of direct paths, which a side without them does not answer."""

    def _note_generation(self, generation, now):
        """The peer's first packet of a generation: the keys before it are needed for ten more seconds."""
        if generation.number > self.newest_received:
            self.newest_received = generation.number
            self.sending = generation
            self._erase_at = now + OLD_KEYS

    # Flow control of the session

    def count_sent(self, count):
        self._sent += count

    def count_received(self, count):
        self._received += count
        if self._received > self._receive_limit:
            raise Malformed("data beyond the credit of the session")

    def consume(self, count):
        self._consumed += count
        if self._receive_limit - self._consumed < OWN_LIMITS.max_data // 2:
            self._receive_limit = self._consumed + OWN_LIMITS.max_data
            self.send(MaxData(self._receive_limit))

    def stream_ended(self, stream):
        if self.streams.pop(stream.number, None):
            self.ended_streams.add(stream.number, stream.number + 1)
