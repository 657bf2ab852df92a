"""PyTorch files that are small, run no code, and would take hours or all memory: opcode by opcode."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path


def opcodes(body: bytes, zipped: bool = True) -> Callable[[Path], Path]:
    """A PyTorch file of these opcodes, as torch.save writes it or as it did before 1.6."""

    def make(folder: Path) -> Path:
        path, whole = folder / "lora.ckpt", pickle.PROTO + b"\x02" + body + b"."
        if zipped:
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in (("data.pkl", whole), ("version", b"3\n"), ("byteorder", b"little")):
                    archive.writestr(f"lora/{name}", data)
        else:
            system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
            head = [pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, system)]
            path.write_bytes(b"".join(head) + whole + pickle.dumps([], 2))
        return path

    return make


def call(name: str, *arguments: bytes) -> bytes:
    """``module.name(*arguments)``"""
    module, _, last = name.rpartition(".")
    return b"c" + f"{module}\n{last}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


PAIRS = b")" + b"".join(b"q" + bytes([at]) + b"h" + bytes([at]) + b"\x86" for at in range(120))
"""A tuple of two of the one before, 120 times: 2^120 items."""
ALIKE = b"".join(number(at * (2**61 - 1)) for at in range(1, 60_000))
"""Numbers of one hash."""
ALIKE_PAIRS = b"".join(number(at * (2**61 - 1)) + b"N" for at in range(1, 60_000))
LONG_LIST = b"](" + b"K\x01K\x02\x86" * 50_000 + b"eq\x00"
NAMES = b"}(" + b"".join(text(f"a{at}") + b"N" for at in range(50_000)) + b"uq\x00"

PICKLES: dict[str, bytes] = {
    "a key of 2^120 items": b"}" + PAIRS + b"Ns",
    "a set of 2^120 items": call("builtins.set", b"](" + PAIRS + b"e"),
    "a key of 100,000 nested tuples": b"})" + b"\x85" * 100_000 + b"Ns",
    "60,000 keys of one hash": b"}(" + ALIKE_PAIRS + b"u",
    "a set of 60,000 numbers of one hash": call("builtins.set", b"](" + ALIKE + b"e"),
    "a Counter of 60,000 numbers of one hash": call("collections.Counter", b"](" + ALIKE + b"e"),
    "an array of 100 GB": call("builtins.bytearray", number(10**11)),
    "an array of 2 GB by another call": call(
        "torch._tensor._rebuild_from_type_v2",
        b"cbuiltins\nbytearray\n", b"cbuiltins\nbytearray\n", number(2 * 10**9) + b"\x85", b"N",
    ),
    "an array of 2 GB by a list": b"cbuiltins\nbytearray\n](" + number(2 * 10**9) + b"eR",
    "a tensor of 400 GB": call("torch.FloatTensor", number(10**11)),
    "50,000 pairs copied 10,000 times": b"](" + LONG_LIST + 10_000 * call("collections.OrderedDict", b"h\x00") + b"e",
    "a state of 50,000 names set 10,000 times": b"](" + NAMES + call("collections.OrderedDict")
    + 10_000 * b"h\x00b" + b"e",
    "a text of 60,000 letters as punycode": call("_codecs.encode", text("ä" + "aö" * 60_000), text("punycode")),
    "400,000 lists": b"](" + b"]" * 400_000 + b"e",
}  # fmt: skip
STORED = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(10**12)
