"""What a caller hears: RTP with G.711 µ-law (RFC 3551), 8000 samples a second."""

from __future__ import annotations

import math
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

RATE = 8000


class Ear:
    """Listens on a port while it is entered."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.settimeout(0.1)
        self.port: int = self._socket.getsockname()[1]
        self._samples: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._socket.close()

    def heard(self) -> bool:
        """Return whether there was anything louder than silence."""
        return any(abs(sample) > 0.02 for sample in self._samples)

    def hears(self, hertz: int) -> bool:
        """Return whether some 50 ms were mostly a tone of that frequency."""
        length = RATE // 20
        for start in range(0, len(self._samples) - length, length):
            window = self._samples[start : start + length]
            power = sum(sample * sample for sample in window)
            if power > length * 0.0005 and _tone(window, hertz) > power * 0.8:
                return True
        return False

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                packet = self._socket.recv(2048)
            except TimeoutError:
                continue
            if packet[1] & 0x7F == 0:  # payload type 0: PCMU
                self._samples += (_linear(byte) for byte in packet[12:])


def write_tone(path: Path, hertz: int, seconds: float) -> None:
    """Write a tone as a file Asterisk can play (.ulaw)."""
    samples = (0.5 * math.sin(2 * math.pi * hertz * index / RATE) for index in range(int(RATE * seconds)))
    path.write_bytes(bytes(_mu_law(sample) for sample in samples))


def _tone(window: list[float], hertz: int) -> float:
    """Return the power of one frequency in a window (a single DFT bin, scaled as the sum of squares is)."""
    angle = 2 * math.pi * hertz / RATE
    real = sum(sample * math.cos(angle * index) for index, sample in enumerate(window))
    imaginary = sum(sample * math.sin(angle * index) for index, sample in enumerate(window))
    return 2 * (real * real + imaginary * imaginary) / len(window)


def _linear(byte: int) -> float:
    """Decode one µ-law byte (ITU-T G.711) to -1 … 1."""
    byte = ~byte & 0xFF
    magnitude = (((byte & 0x0F) << 3) + 0x84 << (byte >> 4 & 7)) - 0x84
    return (-magnitude if byte & 0x80 else magnitude) / 32768


def _mu_law(sample: float) -> int:
    """Encode -1 … 1 as one µ-law byte (ITU-T G.711)."""
    value = min(int(abs(sample) * 32768), 32635) + 0x84
    exponent = value.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | value >> exponent + 3 & 0x0F) & 0xFF
