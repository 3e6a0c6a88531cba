"""Light matched across the ends of frames that contradict the rest.

A phone brightens and darkens each of its shots by no curve of the camera's: what they say of one sky may lie a stop
apart. Inside the picture it gets a mean of them all; beyond the end of one of them, a mean of the others, and a paler
strip along the border. So just inside an end the merge is made with the frame and without it, and what it changed
there, by where along the side a place lies and by its light, is carried on beyond the end, as exposures are matched in
a panorama (Brown and Lowe 2007, section 6). Frames that agree change nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.aligned_burst import AlignedBurst, Window
from smarthdr_cli.fusion.border import LEAST, faded, missing, unmoved
from smarthdr_cli.models.merge import exposure_weight, merge
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import mu_law

DEEP = 64  # pixels inside an end that are looked at
AT_ONCE = 512  # pixels along a side, fused at a time
FURTHEST = 0.1  # of the picture's width or height: an end further inside is left alone
PLACE = 4  # cells along a side of what counts as one place
NODES = 2  # places to a node of the table along the side
OCTAVES, DARKEST = 20, -14  # of light the table goes over, from so many EV below the reference's clip
PER_OCTAVE = 2  # nodes
FEWEST = 1.0  # places that say "nothing changed" beforehand
UNSEEN, SEEN = 0.01, 0.03  # EV: a step that nobody sees, and one that shows in a sky
LARGEST = 2.0  # EV; what is further apart is no one surface
TRUSTED = 0.5


Look = Callable[[Window], tuple[Tensor, Tensor]]  # frames (1, N, 3, h, w) and trust (1, N-1, 1, h, w) of a window


@dataclass(frozen=True)
class End:
    """The end of ``frame`` of the burst, in its ``place`` among those merged, at one side of the picture (0 left, 1
    top, 2 right, 3 bottom), and ``step`` (1, 3, K, L), the EV by which it changes the merge there, by place along the
    side and by light."""

    frame: int
    place: int
    side: int
    step: Tensor


@torch.inference_mode()
def find_ends(source: AlignedBurst, indices: Sequence[int], evs: Tensor, look: Look | None = None) -> list[End]:
    """The ends of frames ``indices``, the reference first, of ``evs`` (1, N), that would show, in the order in which
    ``matched_light`` undoes them: at each side the frame that misses least comes first.

    ``look``: how a strip is fused where more is done than to align; asked only where frames as aligned disagree.
    A frame that is turned ends further inside at one place along a side than at another: which of them a step is by is
    settled place by place.
    """
    found: list[End] = []
    missed = {n: missing(source, i) for n, i in enumerate(indices) if n and source.alignment.moved[i]}
    for side in range(4):
        furthest = FURTHEST * source.burst.size[1 - side % 2]
        ending = sorted((n for n in missed if LEAST <= missed[n][side] <= furthest), key=lambda n: -missed[n][side])
        strip = _strip(source.burst.size, side, missed[ending[0]][side]) if ending else None
        if strip is None:
            continue
        part = unmoved(source, indices, evs, strip, CELL)
        across = side % 2 == 1
        turns = _turns(source, indices, ending, side)
        steps = _steps(_upright(part.frames, across=across), evs, _upright(part.counts, across=across), turns)
        if look is not None and any(bool(step.any()) for step in steps.values()):
            looks = [look(piece) for piece in _pieces(strip)]
            frames, trust = (torch.cat([_upright(x[..., ::CELL, ::CELL].cpu(), across=across) for x in parts], dim=3)
                             for parts in zip(*looks, strict=True))  # fmt: skip
            steps = _steps(frames, evs, trust, turns)
        ends = [End(indices[n], n, side, steps[n]) for n in ending]
        found += [end for end in reversed(ends) if float(end.step.abs().amax()) > UNSEEN]
    return found


def _upright(x: Tensor, *, across: bool) -> Tensor:
    """A strip's pixels with the side along their columns; ``across``: it lies along their rows."""
    return x.mT if across else x


def _turns(source: AlignedBurst, indices: Sequence[int], ending: Sequence[int], side: int) -> Tensor:
    """(K, P) the frames of ``ending``, of ``indices``, in the order in which they end at each place along a side, the
    one that misses most there first.
    """
    (height, width), step = source.burst.size, PLACE * CELL
    line = (Window(0, 0, height, 1), Window(0, 0, 1, width), Window(0, width - 1, height, 1),
            Window(height - 1, 0, 1, width))[side]  # fmt: skip
    missed = []
    for n in ending:
        x, y = source.sample_coordinates(indices[n], line, None, step)
        high, wide = source.burst.frames[indices[n]].size
        missed.append(torch.from_numpy((-x, -y, x - (wide - 1), y - (high - 1))[side].ravel()))
    return torch.tensor(ending)[torch.stack(missed).argsort(dim=0, descending=True, stable=True)]


def _strip(size: tuple[int, int], side: int, missed: float) -> Window | None:
    """What every frame saw first at a side, DEEP pixels of it, on whole cells; None where that is too far inside."""
    height, width = (-(-pixels // CELL) * CELL for pixels in size)
    length = size[1 - side % 2]
    deep = min(DEEP, length // 4) // CELL * CELL
    start = (int(missed) + 2 + CELL) // CELL * CELL
    if side > 1:
        start = (length - start - deep) // CELL * CELL
    if deep == 0 or start < 0:
        return None
    return Window(start, 0, deep, width) if side % 2 else Window(0, start, height, deep)


def _pieces(strip: Window) -> Iterator[Window]:
    """The strip in pieces no longer than AT_ONCE, as memory asks for."""
    for top in range(0, strip.height, AT_ONCE):
        for left in range(0, strip.width, AT_ONCE):
            yield Window(strip.top + top, strip.left + left, min(AT_ONCE, strip.height - top),
                         min(AT_ONCE, strip.width - left))  # fmt: skip


def _steps(frames: Tensor, evs: Tensor, trust: Tensor, turns: Tensor) -> dict[int, Tensor]:
    """For each frame what it changes (1, 3, K, L), those whose turn is before its own being left out already.

    ``frames``, ``evs``, ``trust`` as ``merge`` takes them, the side along their columns; ``turns``: as of ``_turns``.
    """
    weights = torch.stack([exposure_weight(frames[:, i], evs[:, i]) for i in range(frames.shape[1])], dim=1)
    here = torch.ones_like(weights)
    rows = frames.shape[3]
    leaving = turns.repeat_interleave(PLACE, dim=1)[:, :rows]

    def merged() -> tuple[Tensor, Tensor]:
        total = (weights * here).sum(dim=1)
        return _places(F.avg_pool2d, merge(frames, evs, trust, here)[0]), _places(F.max_pool2d, -total) < 0

    before, _ = merged()
    steps, lights, known = (before.new_zeros(len(frames[0]), *before.shape[1:]) for _ in range(3))
    for turn, gone in zip(turns, leaving, strict=True):
        here[0, gone, 0, torch.arange(rows)] = 0
        after, told = merged()
        step = (before.clamp(min=1e-6) / after.clamp(min=1e-6)).log2()
        believed = trust[0, gone - 1, 0, torch.arange(rows)][None, None]
        told &= (step.abs().amax(dim=1, keepdim=True) < LARGEST) & (_places(F.avg_pool2d, believed) > TRUSTED)
        at = torch.arange(step.shape[2])
        for target, value in ((steps, step), (lights, after), (known, told.expand_as(step).float())):
            target[turn[: len(at)], :, at] = value[0].transpose(0, 1)
        before = after
    return {n: _table(steps[n : n + 1], lights[n : n + 1], known[n : n + 1, :1] > 0) for n in turns[:, 0].tolist()}


def _places(pool: Callable[..., Tensor], x: Tensor) -> Tensor:
    return pool(x, tuple(min(PLACE, side) for side in x.shape[-2:]))


def _table(step: Tensor, light: Tensor, told: Tensor) -> Tensor:
    """Means (1, 3, K, L) of ``step`` (1, 3, h, w) over like places: by row, and by ``light``; where ``told``.

    What differs from one such place to the next is motion or noise and no step: it is held to nothing by as much.
    """
    rows = light.shape[2]
    nodes = (max(2, -(-rows // NODES)), OCTAVES * PER_OCTAVE + 1)
    row = torch.arange(rows, dtype=torch.float32)[:, None] * ((nodes[0] - 1) / max(rows - 1, 1))
    node = row.round() * nodes[1] + (_octaves(light)[0, 0] * PER_OCTAVE).round()
    at = told[0, 0]
    values = step[0][:, at]
    sums = torch.zeros(7, nodes[0] * nodes[1]).index_add_(
        1, node[at].long(), torch.cat([torch.ones_like(values[:1]), values, values.square()])
    )
    bell = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 6
    sums = F.conv2d(sums.view(7, 1, *nodes), bell.view(1, 1, 5, 1), padding=(2, 0))
    sums = F.conv2d(sums, bell.view(1, 1, 1, 5), padding=(0, 2))[:, 0]
    count, first, second = sums[:1], sums[1:4], sums[4:]
    mean = first / count.clamp(min=1e-6)
    scatter = (second / count.clamp(min=1e-6) - mean.square()).clamp(min=0)
    sure = mean.square() / (mean.square() + scatter).clamp(min=1e-9) * count / (count + FEWEST)
    seen = ((mean.abs().amax(dim=0) - UNSEEN) / (SEEN - UNSEEN)).clamp(0, 1)
    return (mean * sure * seen)[None]


def _octaves(light: Tensor) -> Tensor:
    """(1, 1, h, w) of the mean channel, above DARKEST."""
    return (light.mean(dim=1, keepdim=True).clamp(min=1e-9).log2() - DARKEST).clamp(0, OCTAVES)


def matched_light(
    ends: Sequence[End], source: AlignedBurst, light: Tensor, sigma: Tensor, window: Window, lack: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """``light`` (1, 3, h, w) of a window with the steps of ``ends`` undone, and ``sigma`` (1, 1, h, w) no less than
    what that changed: it was matched and not measured.

    ``lack`` (1, N, 1, h, w): how far each frame has no part in the light (``border.lacking``), all on the CPU;
    ``scale`` takes light to the short clip.
    """
    own = light
    for end in ends:
        lost = lack[0, end.place, 0]
        if not bool(lost.any()) or not bool((lost := lost * _by_side(source, end, window)).any()):
            continue
        across = end.side % 2 == 1
        start, side = (window.left, source.burst.size[1]) if across else (window.top, source.burst.size[0])
        along = (torch.arange(lost.shape[1 if across else 0]) + start) * (2 / max(side - 1, 1)) - 1
        where = [_octaves(light)[0, 0] * (2 / OCTAVES) - 1, (along if across else along[:, None]).expand_as(lost)]
        step = F.grid_sample(end.step, torch.stack(where, dim=-1)[None], padding_mode="border", align_corners=True)
        light = light * torch.exp2(step * lost)
    if light is own:
        return light, sigma
    changed = (mu_law(light * scale) - mu_law(own * scale)).abs().mean(dim=1, keepdim=True)
    return light, torch.maximum(sigma, changed)


def _by_side(source: AlignedBurst, end: End, window: Window) -> Tensor:
    """(h, w) the share that this side has in what a frame lacks: beyond a corner two sides have half each."""
    x, y = source.sample_coordinates(end.frame, window)
    high, wide = source.burst.frames[end.frame].size
    sides = zip((x, y, wide - 1 - x, high - 1 - y), missing(source, end.frame), strict=True)
    lost = [1 - torch.from_numpy(faded(depth, missed)) if missed >= LEAST else torch.zeros(x.shape)
            for depth, missed in sides]  # fmt: skip
    return lost[end.side] / torch.stack(lost).sum(dim=0).clamp(min=1e-6)
