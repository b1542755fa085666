"""HTTP/2 by hand, for peers that do what no client library does: they leave answers unread and requests unfinished."""

import select
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
LARGEST_FRAME = 16384


def message(content):
    """A message with gRPC's prefix."""
    return b"\0" + struct.pack(">I", len(content)) + content


class Connection:
    """One connection. It gives the peer no window beyond the first 64 KiB, so the rest of its answers stays there."""

    def __init__(self, address, token=None):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.credentials = [("authorization", f"Bearer {token}")] if token else []
        self.initial, self.window, self.windows, self.last, self.is_open = 65535, 65535, {}, -1, True
        self._write(PREFACE)
        self._frame(SETTINGS, 0, 0, b"")

    def begin(self, path):
        """A gRPC request without its body: its stream."""
        self.last += 2
        self.windows[self.last] = self.initial
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        head += [("content-type", "application/grpc"), ("te", "trailers"), *self.credentials]
        self._frame(HEADERS, END_HEADERS, self.last, b"".join(map(_literal, head)))
        return self.last

    def send(self, stream, data, end=False, patience=1):
        """Sends what the peer lets through: how much that was. It stops if the peer gives no room for `patience` seconds."""
        sent = 0
        while sent < len(data) and self.is_open and stream in self.windows:
            room = min(self.window, self.windows[stream], LARGEST_FRAME, len(data) - sent)
            if room <= 0:
                if not self.read(patience):
                    break
                continue
            is_last = end and sent + room == len(data)
            self._frame(DATA, END_STREAM if is_last else 0, stream, data[sent : sent + room])
            self.window -= room
            self.windows[stream] -= room
            sent += room
        return sent

    def read(self, patience):
        """Reads one frame of the peer; false if none comes."""
        if not self.is_open or not select.select([self.socket], [], [], patience)[0]:
            return False
        head = self._exactly(9)
        length, kind, flags, stream = int.from_bytes(head[:3], "big"), *struct.unpack(">BBI", head[3:] or bytes(6))
        content = self._exactly(length)
        if not self.is_open:
            return False
        if kind == SETTINGS and not flags & ACK:
            self._settings(content)
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", content)
            if stream == 0:
                self.window += more
            elif stream in self.windows:
                self.windows[stream] += more
        elif kind == PING and not flags & ACK:
            self._frame(PING, ACK, 0, content)
        elif kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
            self.windows.pop(stream, None)
        elif kind == GOAWAY:
            self.is_open = False
        return True

    def close(self):
        self.is_open = False
        self.socket.close()

    def _settings(self, content):
        for at in range(0, len(content), 6):
            name, value = struct.unpack(">HI", content[at : at + 6])
            if name == INITIAL_WINDOW_SIZE:
                self.windows = {stream: window + value - self.initial for stream, window in self.windows.items()}
                self.initial = value
        self._frame(SETTINGS, ACK, 0, b"")

    def _exactly(self, length):
        content = b""
        while len(content) < length and self.is_open:
            try:
                more = self.socket.recv(length - len(content))
            except OSError:
                more = b""
            content += more
            self.is_open = bool(more)
        return content

    def _frame(self, kind, flags, stream, content):
        self._write(len(content).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + content)

    def _write(self, content):
        try:
            self.socket.sendall(content)
        except OSError:
            self.is_open = False


def _literal(field):
    """A header that is written out and not remembered (RFC 7541 section 6.2.2); each part is shorter than 127 bytes."""
    return b"\0" + b"".join(bytes([len(part)]) + part.encode() for part in field)
