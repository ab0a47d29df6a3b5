"""Things by name of which most only wait: those are kept as bytes, and made again when somebody asks for them.

Where the bytes lie is the edge's business: in memory, or in a file. Beside them, a thing costs 16 bytes, and 16 more
when it is due at some time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from perdure.core.pairs import NUMBER_MAX, Pairs
from perdure.errors import EncodingError

__all__ = ["Form", "MemoryShelf", "Packed", "Roster", "Shelf"]

K = TypeVar("K")
V = TypeVar("V")


class Shelf(Protocol):
    """Where packed bytes lie. What it raises for a disk is OSError."""

    def put(self, items: Sequence[bytes], /) -> list[int]:
        """Keeps each, and says where: numbers up to 2**64 - 1. All of them, or none."""
        ...

    def get(self, place: int, /) -> bytes: ...

    def drop(self, place: int, /) -> None: ...


class MemoryShelf:
    """Bytes that stay in memory."""

    def __init__(self) -> None:
        self._items: list[bytes | None] = []
        self._free: list[int] = []

    def put(self, items: Sequence[bytes], /) -> list[int]:
        places: list[int] = []
        for item in items:
            if self._free:
                place = self._free.pop()
                self._items[place] = item
            else:
                place = len(self._items)
                self._items.append(item)
            places.append(place)
        return places

    def get(self, place: int, /) -> bytes:
        found = self._items[place]
        if found is None:
            raise KeyError(place)
        return found

    def drop(self, place: int, /) -> None:
        self._items[place] = None
        self._free.append(place)


@dataclass(frozen=True, slots=True)
class Form(Generic[K, V]):
    """What kind of things these are."""

    name: Callable[[K], bytes]
    key: Callable[[V], K]
    pack: Callable[[V], bytes]
    unpack: Callable[[bytes], V]
    due: Callable[[V], int | None]
    """When something of it is due at first (µs), if ever."""
    timer: Callable[[bytes], tuple[str, str]]
    """Of a packed one: its name, and the key of the timer that is due first, if that is one."""
    fire: Callable[[V, str, int], bool]
    """Notes that a timer of one has fired, by its key and its time (µs); False when it has no such timer."""


@dataclass(slots=True)
class Packed:
    """Packed things as a snapshot takes them over: columns, and places whose bytes stay until it has read them."""

    digests: array[int]
    places: array[int]
    dues: array[int]
    due_digests: array[int]


class Roster(MutableMapping[K, V]):
    """Things by name. Whoever asks for one with `get` or `[]` gets the one object that stands for it from then on, and
    may change it. `peek`, and iteration, make copies of packed ones, to be looked at alone."""

    def __init__(self, form: Form[K, V]) -> None:
        self._form = form
        self.plain: dict[K, V] = {}
        """Those that are objects."""
        self._places = Pairs()
        """By their digests, where the others lie."""
        self.agenda = Pairs()
        """When one of the others is due, and its digest."""
        self.shelf: Shelf = MemoryShelf()
        self.unpacked: Callable[[V], None] | None = None
        """Told of each that is an object again."""
        self._fired: dict[int, list[tuple[K, str, int]]] = {}
        """Timers of packed ones that have fired, by digest: noted when these become objects. Until then nothing of them
        is on the agenda."""
        self._dropped: list[int] | None = None
        """Places that a snapshot may still read."""

    def __len__(self) -> int:
        return len(self.plain) + len(self._places)

    @property
    def packed(self) -> int:
        """How many are bytes."""
        return len(self._places)

    # ------------------------------------------------------------------ a mapping

    def __iter__(self) -> Iterator[K]:
        yield from [*self.plain]
        yield from (self._form.key(value) for value in self._copies())

    def values(self) -> Iterator[V]:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield from [*self.plain.values()]
        yield from self._copies()

    def items(self) -> Iterator[tuple[K, V]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ((self._form.key(value), value) for value in self.values())

    def __contains__(self, key: object) -> bool:
        return key in self.plain or (bool(self._places) and self.peek(key) is not None)  # pyright: ignore[reportArgumentType]

    def __getitem__(self, key: K) -> V:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: K) -> V | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = self.plain.get(key)
        return self._take(key) if found is None and self._places else found

    def __setitem__(self, key: K, value: V) -> None:
        if self._places and key not in self.plain:
            self._take(key)
        self.plain[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self.plain:
            self[key]
        del self.plain[key]

    def forget(self, key: K) -> bool:
        """Takes one out of which nothing is due, and makes no object for that. False when it is not here."""
        if self.plain.pop(key, None) is not None:
            return True
        digest = self._digest(key)
        place = self._places.value_of(digest)
        if place is None or self._form.timer(self.shelf.get(place))[0] != key:
            return False
        self._free(digest, place, None)
        return True

    def make(self, which: Callable[[V], bool]) -> None:
        """Makes all of this kind into objects: whoever looks at them again and again need not make copies of them."""
        for digest in self._places.columns()[0]:
            place = self._places.value_of(digest)
            if place is not None and which(value := self._made(digest, place)):
                self._off(digest, place, value)

    def peek(self, key: K) -> V | None:
        """One to be looked at: it stays packed if it is."""
        found = self.plain.get(key)
        if found is not None or not self._places:
            return found
        digest = self._digest(key)
        place = self._places.value_of(digest)
        return None if place is None else self._read(digest, place, key)

    # ------------------------------------------------------------------ packing

    def pack(self, values: Iterable[V]) -> list[V]:
        """Packs things that are here as objects; returns those that are. Raises OSError when they find no place: they
        stay as they are then. One that cannot be encoded stays, too."""
        form = self._form
        items: dict[int, tuple[V, bytes]] = {}
        for value in values:
            digest = self._digest(form.key(value))
            if digest in items or self._places.value_of(digest) is not None:  # two names have one digest
                continue
            try:
                items[digest] = value, form.pack(value)
            except EncodingError:
                continue
        places = self.shelf.put([data for _, data in items.values()])
        for (digest, (value, _)), place in zip(items.items(), places, strict=True):
            self._places.add(digest, place)
            due = form.due(value)
            if due is not None:
                self.agenda.add(_time(due), digest)
            del self.plain[form.key(value)]
        return [value for value, _ in items.values()]

    def due(self, until: int, pairs_max: int) -> list[tuple[int, int]]:
        """The first of those that are packed and due by some time: when, and a number for each."""
        return self.agenda.up_to(until, pairs_max) if until >= 0 else []

    def copies_due(self, until: int) -> Iterator[V]:
        """Of those that are packed, copies of those that are due by some time. Raises OSError."""
        for _, digest in self.due(until, len(self._places)):
            place = self._places.value_of(digest)
            if place is not None:
                yield self._made(digest, place)

    def timer(self, digest: int) -> tuple[str, str]:
        """One of these by its name, and the key of its timer; empty when it is no longer here, or that is no timer.
        Raises OSError."""
        place = self._places.value_of(digest)
        return ("", "") if place is None or digest in self._fired else self._form.timer(self.shelf.get(place))

    def fire(self, key: K, timer: str, due: int) -> bool:
        """Notes that a timer of a packed one has fired, without a look at it: to make a thousand objects takes longer
        than a burst may be late. False when it is no packed one."""
        if key in self.plain:
            return False
        digest = self._digest(key)
        if self._places.value_of(digest) is None:
            return False
        self._fired.setdefault(digest, []).append((key, timer, due))
        self.agenda.remove(_time(due), digest)
        return True

    @property
    def fired(self) -> int:
        """How many packed ones have a timer that has fired."""
        return len(self._fired)

    def settle(self) -> None:
        """Makes those whose timers have fired into objects. Raises OSError."""
        for digest in [*self._fired]:
            place = self._places.value_of(digest)
            if place is not None:
                self._off(digest, place, self._made(digest, place))

    def unpack_due(self, due: int, digest: int) -> V | None:
        """One of these becomes an object. Raises OSError."""
        place = self._places.value_of(digest)
        if place is None:
            self.agenda.remove(due, digest)
            return None
        taken = self._off(digest, place, self._made(digest, place))
        self.agenda.remove(due, digest)  # if it had been postponed
        return taken

    def postpone(self, due: int, digest: int, again: int) -> None:
        """One of these could not be read: it is due again later."""
        if self.agenda.remove(due, digest):
            self.agenda.add(again, digest)

    def next_due(self) -> int | None:
        """When the first of those that are packed is due (µs)."""
        first = self.agenda.first()
        return first[0] if first is not None else None

    # ------------------------------------------------------------------ snapshots

    def hold(self) -> Packed:
        """All that is packed, as it is now: what lies at these places stays there until `let_go`. `settle` comes
        before."""
        self._dropped = [] if self._dropped is None else self._dropped
        return Packed(*self._places.columns(), *self.agenda.columns())

    def let_go(self) -> None:
        """Nobody reads what was packed at the time of `hold` any more."""
        dropped, self._dropped = self._dropped or (), None
        for place in dropped:
            self.shelf.drop(place)

    def take_over(self, digests: array[int], items: Sequence[bytes]) -> None:
        """Takes what another roster has packed, with the digests of that, which are in order."""
        self._places.add_sorted(digests, array("Q", self.shelf.put(items)))

    # ------------------------------------------------------------------ inside

    def _digest(self, key: K) -> int:
        return int.from_bytes(blake2b(self._form.name(key), digest_size=8).digest(), "little")

    def _copies(self) -> Iterator[V]:
        """All that is packed, to be looked at. Some may be unpacked, and changed, meanwhile."""
        for digest in self._places.columns()[0]:
            place = self._places.value_of(digest)
            if place is not None:
                yield self._made(digest, place)

    def _made(self, digest: int, place: int) -> V:
        """What lies there, as it is by now."""
        value = self._form.unpack(self.shelf.get(place))
        for key, timer, due in self._fired.get(digest, ()):
            if self._form.key(value) == key:
                self._form.fire(value, timer, due)
        return value

    def _read(self, digest: int, place: int, key: K) -> V | None:
        value = self._made(digest, place)
        return value if self._form.key(value) == key else None

    def _take(self, key: K) -> V | None:
        digest = self._digest(key)
        place = self._places.value_of(digest)
        value = None if place is None else self._read(digest, place, key)
        return value if place is None or value is None else self._off(digest, place, value)

    def _off(self, digest: int, place: int, value: V) -> V:
        """It is an object from now on."""
        self._free(digest, place, self._form.due(value))
        self.plain[self._form.key(value)] = value
        if self.unpacked is not None:
            self.unpacked(value)
        return value

    def _free(self, digest: int, place: int, due: int | None) -> None:
        """It is no longer packed."""
        self._places.remove(digest, place)
        self._fired.pop(digest, None)
        if due is not None:
            self.agenda.remove(_time(due), digest)
        if self._dropped is None:
            self.shelf.drop(place)
        else:
            self._dropped.append(place)


def _time(due: int) -> int:
    return min(max(due, 0), NUMBER_MAX)
