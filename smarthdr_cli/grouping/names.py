"""What file names say: a counter, its order across the roll-over from 9999 to 0001, and numbers left out."""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from smarthdr_cli.grouping.files import natural

_TAIL = re.compile(r"(.*?)(\d{1,9})([^\d]*)", re.DOTALL)
_MODULUS = 10_000  # DCF (CIPA DC-009): file numbers run from 0001 to 9999, then begin again
_TOP, _BOTTOM = 9_900, 100


@dataclass(frozen=True)
class Name:
    """A stem taken apart: DSC_0011 is ("DSC_", 11), IMG_1234-edit is ("IMG_…-edit", 1234); no number: None."""

    prefix: str
    number: int | None


def parse_name(stem: str) -> Name:
    """The last run of digits counts; more than six are a date or a time and no counter."""
    match = _TAIL.fullmatch(stem)
    if match is None or len(match.group(2)) > 6:
        return Name(stem.casefold(), None)
    head, digits, tail = match.groups()
    return Name(f"{head}…{tail}".casefold(), int(digits))


def rolled_over(numbers: Sequence[int]) -> bool:
    """Whether counters run over the roll-over: some just below 9999, some just above 0000, and a wide gap between."""
    last = sorted({number % _MODULUS for number in numbers})
    if len(last) < 2 or last[-1] < _TOP or last[0] > _BOTTOM:
        return False
    return max(high - low for low, high in itertools.pairwise(last)) > _MODULUS // 2


def order_keys(stems: Sequence[str]) -> list[tuple[object, ...]]:
    """A sort key for each stem of one camera: natural order, with what follows a roll-over after what precedes it."""
    names = [parse_name(stem) for stem in stems]
    keys: list[tuple[object, ...]] = []
    numbers: dict[str, list[int]] = defaultdict(list)
    for name in names:
        if name.number is not None:
            numbers[name.prefix].append(name.number)
    wrapped = {prefix for prefix, found in numbers.items() if rolled_over(found)}
    for stem, name in zip(stems, names, strict=True):
        late = name.prefix in wrapped and name.number is not None and name.number % _MODULUS < _MODULUS // 2
        keys.append((1 if late else 0, natural(stem)))
    return keys


def steps(stems: Sequence[str]) -> list[int | None]:
    """How far the counter moves from each stem to the next, across a roll-over; None where the names do not compare."""
    names = [parse_name(stem) for stem in stems]
    found: list[int | None] = []
    for one, two in itertools.pairwise(names):
        if one.prefix != two.prefix or one.number is None or two.number is None:
            found.append(None)
            continue
        step = two.number - one.number
        if step % _MODULUS < _BOTTOM and step < 0 and one.number % _MODULUS >= _TOP:
            step = step % _MODULUS - 1 or 1  # 0000 is not used
        found.append(step)
    return found
