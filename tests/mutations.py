"""Changes files at random: bytes, lengths with a checksum that fits, and the objects in them.

Every mutation follows from the file and a number, so that a failure can be repeated.
"""

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from kprune.export._compressed import container
from kprune.export._tflite.format import flatbuffer

HEAD = "<6sHQQQ"
NUMBERS = [0, 1, 2, 3, 7, 8, 16, 127, 255, 256, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31]
NUMBERS += [(1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1]
VALUES = [None, True, 0, -1, 1, 3.5, 1e308, 1 << 40, 1 << 70, "", "a", "relu", "../../a", "/a"]
VALUES += ["os", "system", "keras.utils", "get_file", "function", "__lambda__", "\ud800", "a\0b"]
VALUES += ["a/" * 40, [], [1], {}, [[]], {"class_name": "Dense"}, {"class_name": 3, "config": {}}]


def flip(content: bytes, chance: random.Random) -> bytes:
    """Changes a few bits."""
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncate(content: bytes, chance: random.Random) -> bytes:
    """Cuts the end off."""
    return content[: chance.randrange(len(content))]


def splice(content: bytes, chance: random.Random) -> bytes:
    """Replaces, repeats, removes or clears a piece of the content."""
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    place = chance.randrange(len(content))
    piece = chance.choice([content[start:end], b"", bytes(end - start), b"\xff" * (end - start)])
    return content[:place] + piece + content[chance.choice([place, place + len(piece), end]) :]


def write_number(content: bytes, chance: random.Random) -> bytes:
    """Writes another number over two, four or eight bytes at a place where one may be."""
    size, code = chance.choice([(2, "<H"), (4, "<I"), (4, "<I"), (8, "<Q")])
    place = chance.randrange(0, len(content) - size) // size * size
    number = chance.choice([*NUMBERS, chance.randrange(64), chance.randrange(len(content))])
    changed = bytearray(content)
    changed[place : place + size] = struct.pack(code, number % (1 << 8 * size))
    return bytes(changed)


PLAIN = [flip, truncate, splice, write_number]


def seal(content: bytes) -> bytes:
    """Gives a compressed file the length and the checksum that fit."""
    changed = bytearray(content)
    if len(changed) >= 16:
        changed[8:16] = struct.pack("<Q", len(changed))
    return bytes(changed[:-4]) + struct.pack("<I", zlib.crc32(changed[:-4]))


def sealed(content: bytes, chance: random.Random) -> bytes:
    """Changes bytes behind the head of a compressed file; the checksum fits."""
    size = struct.calcsize(HEAD)
    return seal(content[:size] + chance.choice(PLAIN)(content[size:], chance))


def sections(content: bytes, chance: random.Random) -> bytes:
    """Changes the sections of a compressed file, or exchanges two; the directory fits."""
    directory, found = container.unpack(content, 1 << 24)
    del directory["lengths"]
    parts = [bytes(each) for each in found]
    index, other = (chance.randrange(len(parts)) for _ in range(2))
    if chance.random() < 0.2 or len(parts[index]) < 9:
        parts[index], parts[other] = parts[other], parts[index]
    else:
        parts[index] = chance.choice(PLAIN)(parts[index], chance)
    return container.pack(directory, parts)


def directory(content: bytes, chance: random.Random) -> bytes:
    """Changes the directory of a compressed file, of which the config is a part."""
    found, parts = container.unpack(content, 1 << 24)
    if chance.random() < 0.8:
        del found["lengths"]
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        replace_value(found, chance)
    try:
        return container.pack(found, [bytes(each) for each in parts])
    except (AttributeError, TypeError, ValueError, struct.error):  # its lengths are of the mutation
        plain = json.dumps(found).encode()
        packed = zlib.compress(plain)
        head = struct.pack(HEAD, b"kprune", 1, 0, len(packed), len(plain))
        return seal(b"".join([head, packed, *parts, bytes(4)]))


def replace_value(tree: Any, chance: random.Random) -> None:
    """Replaces, removes or repeats one value somewhere in nested lists and dicts."""
    holders = []
    queue = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, (dict, list)) and node:
            holders.append(node)
            queue.extend(node.values() if isinstance(node, dict) else node)
    holder = chance.choice(holders)
    key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    action = chance.choice(["replace", "replace", "replace", "remove", "move", "repeat"])
    if action == "remove":
        del holder[key]
    elif action == "move":
        other = chance.choice(holders)
        holder[key] = copy.deepcopy(other)
    elif action == "repeat" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[key] = copy.deepcopy(chance.choice(VALUES))


def objects(content: bytes, chance: random.Random) -> bytes:
    """Changes a few attributes of the objects in a .tflite file."""
    model = flatbuffer.parse(content)
    for _ in range(chance.choice([1, 1, 2, 4])):
        holders = []
        queue: list[Any] = [model]
        while queue:
            node = queue.pop()
            if isinstance(node, list):
                queue.extend(node)
            elif type(node).__module__.endswith("schema_py_generated"):
                holders.append(node)
                queue.extend(vars(node).values())
        holder = chance.choice(holders)
        name = chance.choice(list(vars(holder)))
        setattr(holder, name, _other(getattr(holder, name), chance))
    try:
        return flatbuffer.pack(model)
    except Exception:  # noqa: BLE001 - no file can hold it
        return write_number(content, chance)


def _other(value: Any, chance: random.Random) -> Any:
    """Returns another value that the schema's writer may take."""
    if isinstance(value, np.ndarray) and len(value):
        changed = value.copy()
        number = chance.choice([-1, 0, 1, 2, len(value), 127, 1 << 30]) % (1 << 31)
        changed[chance.randrange(len(value))] = np.asarray(number).astype(value.dtype)
        return chance.choice([changed, changed[:-1], np.concatenate([value, value]), None])
    if isinstance(value, list) and value:
        return chance.choice([value[:-1], value + value[:1], value[::-1], [], None])
    if isinstance(value, bytes):
        return chance.choice([b"", b"\xff\xfe", b"a" * 1000, value + b"b"])
    if isinstance(value, (bool, int)):
        return chance.choice([0, 1, 2, 3, 6, 32, 127, 206, 255, (1 << 31) - 1, value + 1])
    return None


def archive(content: bytes, chance: random.Random) -> bytes:
    """Changes the weights or the config in a .keras file, whose own checksums fit."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        entries = {name: opened.read(name) for name in opened.namelist()}
    if chance.random() < 0.6:
        weights = entries["model.weights.h5"]
        entries["model.weights.h5"] = chance.choice(PLAIN)(weights, chance)
    else:
        config = json.loads(entries["config.json"])
        replace_value(config, chance)
        entries["config.json"] = json.dumps(config).encode()
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as written:
        for name, entry in entries.items():
            written.writestr(name, entry)
    return changed.getvalue()


KPRUNE: list[Callable[[bytes, random.Random], bytes]] = [*PLAIN, sealed, sections]
KPRUNE += [sections, directory, directory, directory]
TFLITE: list[Callable[[bytes, random.Random], bytes]] = [*PLAIN, write_number, objects, objects]

KERAS: list[Callable[[bytes, random.Random], bytes]] = [*PLAIN, *[archive] * 8]


def mutate(content: bytes, kinds: list[Callable[..., bytes]], number: int) -> tuple[str, bytes]:
    """Returns the name of a mutation and what it makes of a file's content."""
    chance = random.Random(number)
    kind = chance.choice(kinds)
    return kind.__name__, kind(content, chance)
