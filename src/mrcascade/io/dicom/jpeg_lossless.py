"""Lossless JPEG with Huffman codes (ITU-T T.81, process 14 and annex H), one component.

Many scanners and archives use it. Other decoders with a compatible licence fail on damaged frames:
libjpeg-turbo, as called by imagecodecs, completes truncated frames silently, GDCM aborts the
process, and liblj92 reads beyond its buffers. This one takes about a microsecond per pixel, much
less than the restoration.
"""

from collections.abc import Iterator

import numpy as np

_SOI, _EOI, _SOS, _DHT, _DRI, _SOF3 = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xC3
_RESTARTS = range(0xD0, 0xD8)
_LOOKUP_BITS = 16  # the longest code
_LARGEST_CATEGORY = 16
_MODULUS = 0xFFFF

# Category of the difference and length of its code, by the next 16 bits; length 0: no code.
Table = list[tuple[int, int]]


def decode(frame: bytes) -> np.ndarray:
    """Return the uint16 samples (rows, columns) of a frame.

    Raises ValueError for another process, several components and damaged data.
    """
    tables: dict[int, Table] = {}
    shape, precision, interval = None, 0, 0
    for marker, segment, start in _segments(frame):
        if marker == _SOF3:
            precision, *shape = segment[0], _word(segment, 1), _word(segment, 3)
            if segment[5] != 1 or not 2 <= precision <= 16 or not all(shape):
                raise ValueError("unusual lossless JPEG")
        elif marker == _DHT:
            tables |= _tables(segment)
        elif marker == _DRI:
            interval = _word(segment, 0)
        elif marker == _SOS:
            if shape is None or segment[0] != 1:
                raise ValueError("lossless JPEG without a frame of one component")
            selected, predictor, point = segment[2] >> 4, segment[3], segment[5] & 15
            if selected not in tables or not 1 <= predictor <= 7 or point >= precision:
                raise ValueError("lossless JPEG with a bad scan header")
            rows, columns = shape
            if rows * columns > 8 * len(frame):  # every sample has a code of a bit or more
                raise ValueError("truncated JPEG scan")
            differences = _differences(frame[start:], tables[selected], rows, columns, interval)
            lines = rows if not interval else interval // columns
            first = 1 << (precision - point - 1)
            parts = [
                _predicted(differences[i : i + lines], predictor, first)
                for i in range(0, rows, lines)
            ]
            return (np.concatenate(parts) << point).astype(np.uint16)
    raise ValueError("no lossless JPEG")


def _word(data: bytes, place: int) -> int:
    return data[place] << 8 | data[place + 1]


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (marker, content, start of the next segment) up to the start of the scan."""
    if frame[:2] != bytes((0xFF, _SOI)):
        raise ValueError("no JPEG")
    place = 2
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            raise ValueError("no JPEG marker where one should be")
        marker = frame[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if marker in (0xC0, 0xC1, 0xC2) or (marker in range(0xC5, 0xD0) and marker != 0xC8):
            raise ValueError("another JPEG process")
        length = _word(frame, place + 2)
        segment = frame[place + 4 : place + 2 + length]
        if length < 2 or len(segment) != length - 2:
            raise ValueError("truncated JPEG segment")
        place += 2 + length
        yield marker, segment + bytes(8), place  # short segments read as zeros
        if marker == _SOS:
            return


def _tables(segment: bytes) -> dict[int, Table]:
    """Return the Huffman tables of a DHT segment, by their number (annex C)."""
    found: dict[int, Table] = {}
    place = 0
    while place + 17 <= len(segment) - 8:
        number = segment[place] & 15
        counts = segment[place + 1 : place + 17]
        symbols = segment[place + 17 : place + 17 + sum(counts)]
        if len(symbols) != sum(counts):
            raise ValueError("truncated Huffman table")
        found[number] = _lookup(counts, symbols)
        place += 17 + sum(counts)
    return found


def _lookup(counts: bytes, symbols: bytes) -> Table:
    table: Table = []
    left = iter(symbols)
    for length, count in enumerate(counts, start=1):
        for _ in range(count):
            category = next(left)
            if category > _LARGEST_CATEGORY:
                raise ValueError("bad Huffman table")
            table += [(category, length)] * (1 << (_LOOKUP_BITS - length))
            if len(table) > 1 << _LOOKUP_BITS:
                raise ValueError("bad Huffman table")
    return table + [(0, 0)] * ((1 << _LOOKUP_BITS) - len(table))


def _differences(scan: bytes, table: Table, rows: int, columns: int, interval: int) -> np.ndarray:
    """Return the coded differences (rows, columns) of a scan, int64."""
    if interval % columns:
        raise ValueError("restarts within a line")
    most = interval or rows * columns
    counts = [min(most, rows * columns - i) for i in range(0, rows * columns, most)]
    pieces = _restart_pieces(scan)
    values: list[int] = []
    for count in counts:
        values += _coded(next(pieces, b""), table, count)
    return np.array(values, np.int64).reshape(rows, columns)


def _restart_pieces(scan: bytes) -> Iterator[bytes]:
    """Yield the data between restart markers, up to any other marker, without stuffed zeros."""
    start = place = 0
    while (place := scan.find(b"\xff", place)) >= 0 and place + 1 < len(scan):
        marker = scan[place + 1]
        if marker in _RESTARTS or marker not in (0, 0xFF):
            yield scan[start:place].replace(b"\xff\0", b"\xff")
            start = place + 2
            if marker not in _RESTARTS:
                return
        place += 1 if marker == 0xFF else 2
    yield scan[start:].replace(b"\xff\0", b"\xff")


def _coded(data: bytes, table: Table, count: int) -> list[int]:
    """Decode `count` differences: a code for the category, then as many bits (F.1.2.1, H.1.2.2)."""
    values = []
    buffer = bits = place = 0
    data = data + bytes(8)  # for the look-ahead; a check below finds missing data
    end = len(data)
    for _ in range(count):
        while bits < 32 and place < end:
            buffer = (buffer & 0xFFFFFFFF) << 8 | data[place]
            bits += 8
            place += 1
        if bits < 32:
            raise ValueError("truncated JPEG data")
        category, length = table[(buffer >> (bits - 16)) & 0xFFFF]
        if not length:
            raise ValueError("bad Huffman code")
        bits -= length
        if category == 0:
            values.append(0)
        elif category == _LARGEST_CATEGORY:
            values.append(32768)
        else:
            bits -= category
            value = (buffer >> bits) & ((1 << category) - 1)
            values.append(value if value >> (category - 1) else value - (1 << category) + 1)
    if place * 8 - bits > (end - 8) * 8:
        raise ValueError("truncated JPEG data")
    return values


def _predicted(differences: np.ndarray, predictor: int, first: int) -> np.ndarray:
    """Return the samples of differences (table H.1), modulo 2^16.

    The first line is predicted from the left.
    """
    samples = differences.copy()
    samples[0, 0] += first
    if predictor == 1:
        samples[:, 0] = np.cumsum(samples[:, 0])
        return np.cumsum(samples, axis=1) & _MODULUS
    lines = [(np.cumsum(samples[0]) & _MODULUS).tolist()]
    for changes in samples[1:].tolist():
        above = lines[-1]
        line = [(above[0] + changes[0]) & _MODULUS]
        for i in range(1, len(changes)):
            a, b, c = line[-1], above[i], above[i - 1]
            guess = (b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1)
            line.append((guess[predictor - 2] + changes[i]) & _MODULUS)
        lines.append(line)
    return np.array(lines, np.int64)
