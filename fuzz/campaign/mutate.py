"""Mutations of files: text that is still text, JSON that is still JSON, and bytes."""

import json

# What programs assume a number is not.
NUMBERS = [
    "0", "-1", "1", "2", "3", "7", "255", "256", "65535", "65536", "2147483647", "2147483648",
    "4294967295", "4294967296", "9007199254740993", "9223372036854775807", "-9223372036854775808",
    "18446744073709551615", "18446744073709551616", "1e9", "1e38", "3.5e38", "1e200", "1e308",
    "-1e308", "1e-45", "1e-308", "5e-324", "-0.0", "0.5", "1e400", "NaN", "Infinity",
]
VALUES = [
    None, True, False, "", "x", "\u001b[31mred", "../../x", "/etc/passwd", "a" * 70000, "\u202e",
    [], {}, [[]], [None], [0] * 5000, {"": 0},
]
INTEGERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 31, (1 << 31) - 1, (1 << 32) - 1,
            1 << 32, 1 << 40, 1 << 45, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]


def places(value, path=()):
    """The path of every value inside a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 40)):
            yield from places(value[index], (*path, index))


def json_value(random, value):
    """Changes one place of a JSON value: another value, a missing, a doubled or a nested one."""
    spots = [path for path in places(value) if path]
    if not spots:
        return random.choice(VALUES)
    path = random.choice(spots)
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    last = path[-1]
    kind = random.randrange(6)
    if kind == 0:
        del holder[last]
    elif kind == 1:
        holder[last] = random.choice(VALUES)
    elif kind == 2:
        number = random.choice(NUMBERS)
        try:
            holder[last] = json.loads(number)
        except ValueError:
            holder[last] = number
    elif kind == 3 and isinstance(holder, dict):
        holder[random.choice(["", "x", str(last) + " ", "\u202e", "__proto__"])] = holder[last]
    elif kind == 4:
        other = value
        for step in random.choice(spots):
            other = other[step]
        holder[last] = json.loads(json.dumps(other))
    else:
        deep = holder[last]
        for _ in range(random.choice([1, 2, 60, 400])):
            deep = [deep]
        holder[last] = deep
    return value


def text(random, data):
    """Changes numbers, words and lines of a text."""
    kind = random.randrange(5)
    lines = data.split(b"\n")
    if kind == 0:
        line = random.randrange(len(lines))
        lines[line : line + 1] = []
    elif kind == 1:
        lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    elif kind == 2:
        one, other = random.randrange(len(lines)), random.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
    else:
        digits = [at for at, byte in enumerate(data) if 48 <= byte <= 57]
        if digits:
            start = random.choice(digits)
            end = start
            while end < len(data) and data[end] in b"0123456789.eE+-":
                end += 1
            return data[:start] + random.choice(NUMBERS).encode() + data[end:]
    return b"\n".join(lines)


def raw(random, data):
    """Changes bytes: bits, runs, integers, the length."""
    data = bytearray(data)
    if not data:
        return bytes([random.randrange(256)])
    for _ in range(random.choice([1, 1, 1, 2, 8])):
        # Headers are at the front: half of all changes are there.
        reach = min(len(data), 4096) if random.random() < 0.5 else len(data)
        at = random.randrange(max(reach, 1))
        kind = random.randrange(7)
        if kind == 0:
            data[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 1:
            width = random.choice([1, 2, 4, 8])
            number = random.choice(INTEGERS) % (1 << (8 * width))
            data[at : at + width] = number.to_bytes(width, "little")
        elif kind == 2:
            del data[at : at + random.choice([1, 4, 64, 4096])]
        elif kind == 3:
            data[at:at] = bytes(random.randrange(256) for _ in range(random.choice([1, 8, 300])))
        elif kind == 4:
            data[at:at] = data[at : at + random.choice([8, 64, 1024])]
        elif kind == 5:
            del data[at:]
        else:
            data[at : at + 4] = random.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xef\xbb\xbf{"])
        if not data:
            break
    return bytes(data)


def mutated(random, data, form):
    """One mutation of `data`, whose `form` is "json", "lines" (of JSON), "text" or "bytes"."""
    if random.random() < 0.25:
        return raw(random, data)
    try:
        if form == "json":
            return json.dumps(json_value(random, json.loads(data))).encode()
        if form == "lines":
            lines = data.split(b"\n")
            line = random.randrange(len(lines))
            if random.random() < 0.3 or not lines[line]:
                return text(random, data)
            lines[line] = json.dumps(json_value(random, json.loads(lines[line]))).encode()
            return b"\n".join(lines)
        if form == "header":
            # safetensors: the length of a JSON header, the header, tensors.
            size = int.from_bytes(data[:8], "little")
            header = json.dumps(json_value(random, json.loads(data[8 : 8 + size]))).encode()
            return len(header).to_bytes(8, "little") + header + data[8 + size :]
        if form == "text":
            return text(random, data)
    except (ValueError, RecursionError, TypeError, KeyError):
        pass
    return raw(random, data)
