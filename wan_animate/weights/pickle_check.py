"""What a PyTorch pickle would make, by its opcodes alone: nothing of it is built.

``torch.load(weights_only=True)`` runs no code of a file, but builds whatever it says: a key of a hundred nested tuples,
each the pair of the one before, takes 2^100 steps to hash, and ``bytearray(10**11)`` is a call of twelve bytes.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

MOST_OPCODES = 300_000
"""Of 10,000 tensors; a LoRA on all layers of Wan 14B has 1,500."""
MOST_BYTES = 16 << 20
"""Of the pickle without its tensors."""
MOST_KEYS = 10_000
"""Parts of keys that are no text, and of sets, together: their hashes may be equal on purpose."""
MOST_HANDED = 3_000_000
"""Parts that are handed to calls, each time: an ``OrderedDict`` of a list copies it."""
DEEPEST_TUPLE, LARGEST_TUPLE = 50, 10_000
LEGACY_PICKLES = 5
"""At the begin of a file that is no zip: magic number, version, system, content, names of the stored numbers."""
_TENSOR_CLASS = re.compile(r"\w*Tensor")
_BY_TYPE = "_rebuild_from_type_v2"
_REBUILT = re.compile(r"torch\._utils _rebuild_\w+")
_BYTES_AS_TEXT = ("latin1", "latin-1")
_SHORT = 40  # characters that are kept
_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1"}
_OTHERS = {"NONE", "NEWFALSE", "NEWTRUE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "BINFLOAT"}
_TEXTS = {"BINUNICODE", "SHORT_BINSTRING"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class TooMuch(Exception):
    """The pickle would take too long or too much memory; the message says why, as a clause."""


@dataclass
class _Value:
    """An object that would be on the stack.

    Attributes:
        kind: ``"text"``, ``"number"``, ``"tuple"``, ``"global"`` or ``"other"``.
        value: of a short text, a number or a global; the items of a tuple.
        depth, weight: nested tuples, and all items in them, each time that they are met: what a hash costs.
        inside: items of a list or dict, characters of a text; those of tuples with all that is in them.
    """

    kind: str
    value: Any = None
    depth: int = 0
    weight: int = 1
    inside: int = 0

    @property
    def parts(self) -> int:
        return max(self.weight, self.inside)


def check_pickle(path: str | os.PathLike, size: int) -> None:
    """Reads the opcodes of a PyTorch file.

    Args:
        size: bytes of the file.

    Raises:
        TooMuch: it would take too long or too much memory.
        pickle.UnpicklingError: an opcode that PyTorch does not load.
        ValueError, IndexError, KeyError, EOFError: damaged.
    """
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            bounded = _Bounded(file)
            for _ in range(LEGACY_PICKLES):
                _Check(size).run(bounded)
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == "data.pkl"]
        if len(names) != 1:
            raise ValueError(f"{len(names)} pickles in it")
        with archive.open(names[0]) as packed:
            _Check(size).run(_Bounded(packed))


class _Bounded:
    """As much of a file as a pickle may have, and lines as long as names are."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, MOST_BYTES

    def read(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise TooMuch(f"has more than {MOST_BYTES >> 20} MB beside its tensors")
        return self._file.read(count)

    def readline(self) -> bytes:
        return self._file.readline(1000)


class _Check:
    """The stack and memo of one pickle's opcodes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stack: list[_Value] = []
        self._marks: list[list[_Value]] = []
        self._memo: dict[int, _Value] = {}
        self._storages: dict[Any, int] = {}
        self._keys = self._handed = 0
        self._steps: dict[str, Callable[[Any], None]] = {
            "MARK": self._mark, "TUPLE": lambda _: self._tuple(self._popped()),
            "BINPUT": self._put, "LONG_BINPUT": self._put, "BINGET": self._get, "LONG_BINGET": self._get,
            "REDUCE": self._call, "NEWOBJ": self._call, "BUILD": self._build, "BINPERSID": self._storage,
            "APPEND": lambda _: self._extend([self._pop()]), "APPENDS": lambda _: self._extend(self._popped()),
            "SETITEM": self._set_item, "SETITEMS": lambda _: self._set_items(self._popped()), "PROTO": lambda _: None,
        }  # fmt: skip

    def run(self, file: _Bounded) -> None:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):  # type: ignore[arg-type]
            if count >= MOST_OPCODES:
                raise TooMuch(f"has more than {MOST_OPCODES:,} parts")
            if opcode.name == "STOP":
                return
            if not self._make(opcode.name, argument):
                if opcode.name not in self._steps:
                    raise pickle.UnpicklingError(f"opcode {opcode.name}")
                self._steps[opcode.name](argument)

    def _make(self, name: str, argument: Any) -> bool:
        """Whether it is an opcode that makes a value of nothing."""
        if name in _TUPLES:
            self._tuple([self._pop() for _ in range(_TUPLES[name])][::-1])
        elif name in _TEXTS:
            short = argument if len(argument) <= _SHORT else None
            self._stack.append(_Value("text", short, inside=len(argument)))
        elif name in _NUMBERS or name in _OTHERS or name == "GLOBAL":
            kind = "global" if name == "GLOBAL" else "number" if name in _NUMBERS else "other"
            self._stack.append(_Value(kind, argument))
        else:
            return False
        return True

    def _pop(self) -> _Value:
        return self._stack.pop()

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _popped(self) -> list[_Value]:
        """What is above the last mark."""
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _tuple(self, items: list[_Value]) -> None:
        depth = 1 + max((item.depth for item in items), default=0)
        weight = 1 + sum(item.weight for item in items)
        if depth > DEEPEST_TUPLE or weight > LARGEST_TUPLE:
            raise TooMuch(f"has tuples in tuples, {depth} deep, of {weight:,} items")
        self._stack.append(_Value("tuple", items, depth, weight, _bounded(sum(item.parts for item in items))))

    def _put(self, at: int) -> None:
        self._memo[at] = self._stack[-1]

    def _get(self, at: int) -> None:
        self._stack.append(self._memo[at])

    def _extend(self, items: list[_Value]) -> None:
        self._stack[-1].inside = _bounded(self._stack[-1].inside + sum(item.weight for item in items))

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _set_items(self, items: list[_Value]) -> None:
        self._add_keys(sum(key.weight for key in items[::2] if key.kind != "text"))
        self._extend(items)

    def _add_keys(self, parts: int) -> None:
        self._keys += parts
        if self._keys > MOST_KEYS:
            raise TooMuch(f"has more than {MOST_KEYS:,} keys that are no names")

    def _hand(self, value: _Value) -> None:
        self._handed += value.parts
        if self._handed > MOST_HANDED:
            raise TooMuch(f"copies more than {MOST_HANDED:,} parts")

    def _build(self, _: Any) -> None:
        self._hand(self._pop())

    def _call(self, _: Any) -> None:
        arguments, called = self._pop(), self._pop()
        if arguments.kind != "tuple":  # PyTorch would take a list, but nothing writes one
            raise pickle.UnpicklingError("arguments that are no tuple")
        self._hand(arguments)
        items = arguments.value
        name = re.split("[ .]", str(called.value))[-1] if called.kind == "global" else ""
        if name in ("set", "frozenset", "Counter"):
            self._add_keys(sum(item.parts for item in items))
        by_number = name == "bytearray" and any(item.kind != "text" for item in items)
        if by_number or (items and _TENSOR_CLASS.fullmatch(name)):
            raise TooMuch("asks for memory by a number")
        if name == "encode" and any(item.value not in _BYTES_AS_TEXT for item in items[1:]):
            raise TooMuch("encodes a text")
        if name == _BY_TYPE and not (items and items[0].kind == "global" and _REBUILT.fullmatch(str(items[0].value))):
            raise TooMuch("makes tensors by something else than PyTorch's functions")
        # bytes are stored as a text and a call
        self._stack.append(_Value("text" if name == "encode" else "other", inside=arguments.inside))

    def _storage(self, _: Any) -> None:
        """Stored numbers: ``("storage", type, key, device, count)``."""
        known = self._pop()
        items = known.value if known.kind == "tuple" else []
        if len(items) > 4 and items[4].kind == "number":
            key = id(items[2]) if items[2].value is None else items[2].value
            self._storages[key] = max(int(items[4].value), self._storages.get(key, 0))
            if sum(self._storages.values()) > self._size:
                raise TooMuch(f"claims more numbers than its {self._size:,} bytes hold")
        self._stack.append(_Value("other"))


def _bounded(count: int) -> int:
    return min(count, MOST_HANDED + 1)
