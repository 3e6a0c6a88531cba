"""The best division of a row into spans, and how probable each of its spans is.

A semi-Markov model (Sarawagi and Cohen, NIPS 2004, section 3): a division's weight is the exponential of the sum of its
spans' scores, so a score is a log-odds in nats. The best division by Viterbi, the probability of a span by the
forward-backward sums, both exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Frames ``start`` to ``stop`` (exclusive) are one; ``probability`` over all divisions, 0 to 1."""

    start: int
    stop: int
    probability: float


def divide(count: int, score: Callable[[int, int], float | None], longest: int) -> list[Span]:
    """Divide 0..count into spans of at most ``longest``.

    ``score(start, stop)`` is the log-odds of a span, minus infinity for one that cannot be; None says that no longer
    span from this start can be either. Spans of one must have a finite score.
    """
    spans: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for start in range(count):
        for stop in range(start + 1, min(start + longest, count) + 1):
            value = score(start, stop)
            if value is None:
                break
            if value > -math.inf:
                spans[start].append((stop, value))
    best = [0.0] + [-math.inf] * count
    came = [0] * (count + 1)
    forward = [0.0] + [-math.inf] * count
    backward = [-math.inf] * count + [0.0]
    for start in range(count):
        for stop, value in spans[start]:
            if best[start] + value > best[stop]:
                best[stop], came[stop] = best[start] + value, start
            forward[stop] = _add(forward[stop], forward[start] + value)
    for start in range(count - 1, -1, -1):
        for stop, value in spans[start]:
            backward[start] = _add(backward[start], backward[stop] + value)
    chosen: list[Span] = []
    stop = count
    while stop > 0:
        start = came[stop]
        value = dict(spans[start])[stop]
        odds = forward[start] + value + backward[stop] - forward[count]
        chosen.append(Span(start, stop, min(1.0, math.exp(min(0.0, odds)))))
        stop = start
    return chosen[::-1]


def _add(one: float, two: float) -> float:
    """log(exp(one) + exp(two))."""
    high, low = max(one, two), min(one, two)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
