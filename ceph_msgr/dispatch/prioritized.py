"""The order in which queued things are served: Ceph's prioritized queue. No threads, no clock, no messages."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["PrioritizedQueue"]

T = TypeVar("T")


class _SubQueue(Generic[T]):
    """One priority: round-robin over classes, first in first out inside a class. ``tokens`` only counts below."""

    __slots__ = ("classes", "tokens")

    def __init__(self) -> None:
        self.classes: OrderedDict[Hashable, deque[tuple[int, T]]] = OrderedDict()
        self.tokens = 0

    def append(self, class_: Hashable, cost: int, item: T) -> None:
        self.classes.setdefault(class_, deque()).append((cost, item))

    def head_cost(self) -> int:
        return next(iter(self.classes.values()))[0][0]

    def popleft(self) -> tuple[int, T]:
        class_, items = next(iter(self.classes.items()))
        entry = items.popleft()
        if items:
            self.classes.move_to_end(class_)
        else:
            del self.classes[class_]
        return entry


class PrioritizedQueue(Generic[T]):
    """A queue with two halves, the strict one always first. Classes share a priority fairly; a class is a connection.

    - *Strict*: always the highest priority there is.
    - *Tokens*: among the priorities that own more tokens than their first item costs, the lowest one pays and is
    served, so
      that none starves; if none can pay, the highest one is served for nothing. Whenever an item is served, its cost is
      handed out as tokens to all priorities, in proportion to their number, up to ``max_tokens`` each.

    A cost is taken as at least ``min_cost`` and at most ``max_tokens``.
    """

    def __init__(self, max_tokens: int, min_cost: int) -> None:
        self._max_tokens = max_tokens
        self._min_cost = min_cost
        self._strict: dict[int, _SubQueue[T]] = {}
        self._token: dict[int, _SubQueue[T]] = {}
        self._len = 0

    def __len__(self) -> int:
        return self._len

    def enqueue_strict(self, class_: Hashable, priority: int, item: T) -> None:
        self._enqueue(self._strict, class_, priority, 0, item)

    def enqueue(self, class_: Hashable, priority: int, cost: int, item: T) -> None:
        """Into the token half."""
        self._enqueue(self._token, class_, priority, min(max(cost, self._min_cost), self._max_tokens), item)

    def _enqueue(self, half: dict[int, _SubQueue[T]], class_: Hashable, priority: int, cost: int, item: T) -> None:
        subqueue = half.get(priority)
        if subqueue is None:
            subqueue = half[priority] = _SubQueue()
        subqueue.append(class_, cost, item)
        self._len += 1

    def dequeue(self) -> T:
        """The next item; ``IndexError`` if there is none."""
        if self._strict:
            return self._pop(self._strict, max(self._strict))[1]
        if not self._token:
            raise IndexError("dequeue from an empty PrioritizedQueue")
        priority = min((p for p, q in self._token.items() if q.head_cost() < q.tokens), default=None)
        if priority is None:
            cost, item = self._pop(self._token, max(self._token))
        else:
            paying = self._token[priority]
            cost, item = self._pop(self._token, priority)
            paying.tokens -= cost
        # The priority served gets its share too, unless that was its last item: it is forgotten with its tokens.
        total = sum(self._token)
        for p, subqueue in self._token.items() if total else ():
            subqueue.tokens = min(subqueue.tokens + p * cost // total + 1, self._max_tokens)
        return item

    def _pop(self, half: dict[int, _SubQueue[T]], priority: int) -> tuple[int, T]:
        subqueue = half[priority]
        entry = subqueue.popleft()
        if not subqueue.classes:
            del half[priority]
        self._len -= 1
        return entry

    def remove_by_class(self, class_: Hashable) -> list[T]:
        """Takes everything of one class out; the caller decides about it."""
        removed: list[T] = []
        for half in self._strict, self._token:
            for priority, subqueue in list(half.items()):
                removed += [item for _, item in subqueue.classes.pop(class_, ())]
                if not subqueue.classes:
                    del half[priority]
        self._len -= len(removed)
        return removed

    def heads(self) -> Iterator[T]:
        """The first item of each class of each priority: the oldest ones are among them."""
        for half in self._strict, self._token:
            for subqueue in half.values():
                for items in subqueue.classes.values():
                    yield items[0][1]
