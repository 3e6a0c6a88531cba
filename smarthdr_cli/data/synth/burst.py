"""Synthetic bursts: a radiance source, a hand that shakes, things that move, and a camera that clips and adds noise.

Made in batches on any device from an explicit generator; the same code streams training crops and writes benchmarks.
Every burst comes with its truth: radiance at the reference's moment and pose, displacement and visibility.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth import camera
from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.degradations import draw_blemishes, flicker, misstated
from smarthdr_cli.data.synth.foreground import Foreground, draw_foreground
from smarthdr_cli.data.synth.geometry import Blur, camera_motion, pixel_grid, true_motion
from smarthdr_cli.data.synth.layers import Canvas, Thing
from smarthdr_cli.data.synth.objects import MovingObject, brightest, draw_object, varied
from smarthdr_cli.data.synth.parts import Parts, figure, swarm, twigs
from smarthdr_cli.data.synth.sources import SceneBank
from smarthdr_cli.data.synth.textures import Texture
from smarthdr_cli.data.synth.variety import Variety

WIDEST = 8.0  # EV between the darkest and the brightest frame of a burst


@dataclass(frozen=True)
class SynthConfig:
    """What kind of bursts to make.

    ``kind``: gamma16, camera8 or mixed. ``shake``: "aligned" leaves only the residue that alignment leaves (training,
    after align); "handheld" moves the camera by ``shake_px`` and two degrees or so; "tripod" does not.
    ``reference``: "mixed" draws it, now and then from the ends of the range; "middle" takes the middle frame.
    ``simulate_jpeg``: False where a real encoder follows. ``ev_error``, ``curve_residue``: how wrong exposures and
    curves may still be when fusion begins. ``bias``: EV by which the whole bracket is off.
    ``variety``: what makes bursts richer; without it one seed is the same burst as ever (frozen benchmarks).
    """

    height: int = 256
    width: int = 256
    frames: tuple[int, ...] = (3,)
    kind: str = "mixed"
    shake: str = "aligned"
    shake_px: float = 20.0
    objects: int = 3
    ev_steps: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0)
    iso_low: float = 100.0
    iso_high: float = 6400.0
    reference: str = "mixed"
    simulate_jpeg: bool = True
    ev_error: float = 0.05
    curve_residue: float = 0.08
    bias: float = 0.0
    variety: Variety = field(default_factory=Variety)


@dataclass(frozen=True)
class SyntheticBurst:
    """What the camera saw and what was there. ``codes``: (B, N, 3, H, W) display codes in [0, 1], reference first.

    ``still``: the same moments as ``linear`` but with nothing moving and the camera on a tripod (the oracle's input),
    or None. ``curve``/``inverse``: (B, 3, K) tables on the gamma code. ``moving``: (B, 1, H, W) bool.
    """

    codes: Tensor
    linear: Tensor
    still: Tensor | None
    evs: Tensor
    stated_evs: Tensor
    curve: Tensor
    inverse: Tensor
    target: Tensor
    flow: Tensor
    visible: Tensor
    moving: Tensor


def exposures(config: SynthConfig, generator: torch.Generator, batch: int, count: int) -> tuple[Tensor, Tensor]:
    """True EVs (B, N) relative to the reference (index 0) and the moment (B, N) of each frame, 0 at the reference."""
    device = generator.device
    steps = torch.tensor(config.ev_steps, device=device)
    step = steps[torch.randint(len(steps), (batch, 1), generator=generator, device=device)]
    gaps = step * torch.exp(uniform(generator, (batch, count - 1), -0.15, 0.15))
    if config.variety.uneven:
        each = steps[torch.randint(len(steps), gaps.shape, generator=generator, device=device)]
        gaps = torch.where(uniform(generator, (batch, 1)) < config.variety.uneven, each, gaps)
    if not config.variety.plain:  # nine frames four stops apart are more than any scene has
        gaps = gaps * (WIDEST / gaps.sum(dim=1, keepdim=True)).clamp(max=1)
    level = torch.cat([torch.zeros(batch, 1, device=device), gaps.cumsum(1)], 1)
    middle = torch.full((batch,), (count - 1) // 2, device=device)
    anywhere = torch.randint(count, (batch,), generator=generator, device=device)
    reference = torch.where(uniform(generator, (batch,)) < 0.8, middle, anywhere)
    if config.reference == "middle":
        reference = middle
    level = level - level.gather(1, reference[:, None])
    index = torch.arange(count, device=device).expand(batch, -1)
    order = torch.argsort((index != reference[:, None]).int(), dim=1, stable=True)  # the reference first, others kept
    return level.gather(1, order), (order - reference[:, None]).float()


def render(
    bank: SceneBank, config: SynthConfig, generator: torch.Generator, evs: Tensor, times: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Radiance (B, N, 3, H, W) of every frame, the static reference view (B, 3, H, W), flow, visible and moving.

    ``evs``, ``times``: (B, N), as ``exposures`` draws them; exposures matter only to what blurs.
    """
    variety = config.variety
    batch, count = times.shape
    size = (config.height, config.width)
    motion = camera_motion(generator, batch, count, size, shake=config.shake, reach_px=config.shake_px)
    blur = None
    if variety.blur and float(uniform(generator, (1,))) < variety.blur:
        blur = Blur.draw(generator, evs, times)
    near = None
    rows = some(generator, batch, variety.depth)
    if len(rows):
        near, behind = draw_foreground(generator, rows, times[rows], size)
        motion[rows] += behind[:, :, None, None]
    if blur is not None:
        motion = blur.camera(motion)
    backdrop = Texture.draw(bank, generator, batch, variety.soft)
    points = pixel_grid(*size, generator.device) + motion
    frames = backdrop.sample(bank, points.flatten(1, 2))
    frames = frames.view(batch, 3, -1, *size).transpose(1, 2).contiguous()
    if variety.flicker:
        pulse = flicker(generator, points[:, :count], variety.flicker)
        frames = frames * (pulse if blur is None else blur.repeated(pulse))
    layers = torch.zeros_like(frames[:, :, :1])
    canvas = Canvas(frames, layers, motion, steady=not variety.plain)
    things: list[Thing] = []

    def paint(thing: MovingObject | Parts | Foreground, texture: Texture) -> None:
        first = 1 + sum(each.parts for each in things)
        canvas.paint(thing if blur is None else thing.moments(blur), first, texture, bank)
        things.append(thing)

    last: MovingObject | None = None
    bright = None if variety.plain else brightest(frames[:, 0], generator)
    for _ in range(config.objects):
        last = draw_object(generator, batch, times, size, last)
        if bright is not None:
            last = varied(last, variety, generator, times, size, bright)
        paint(last, Texture.draw(bank, generator, batch, variety.soft))
    for share, draw in ((variety.limbs, figure), (variety.twigs, twigs), (variety.swarms, swarm)):
        rows = some(generator, batch, share)
        if len(rows):
            thing = draw(generator, rows, times[rows], size)
            paint(thing, Texture.draw(bank, generator, len(rows), variety.soft))
    if near is not None:
        paint(near, Texture.draw(bank, generator, len(near.rows), variety.soft))
    if blur is not None:
        frames = blur.integrated(frames)
        motion, layers = motion[:, :count], layers[:, :count]
    flow, visible = true_motion(motion, things, layers)
    drift = (flow.norm(dim=2, keepdim=True) > 0.75) | (visible < 0.5)
    moving = ((drift & (layers[:, :1] > 0)) | (visible < 0.5)).any(dim=1)
    return frames, frames[:, 0], flow, visible, moving


def some(generator: torch.Generator, batch: int, share: float) -> Tensor:
    """The samples of a batch, each drawn with a chance of ``share``; a share of 0 draws no number."""
    if not share:
        return torch.zeros(0, dtype=torch.long, device=generator.device)
    return (uniform(generator, (batch,)) < share).nonzero()[:, 0]


def make_bursts(
    bank: SceneBank, config: SynthConfig, generator: torch.Generator, batch: int, *, oracle: bool = False
) -> SyntheticBurst:
    """``batch`` bursts with one number of frames, drawn from ``config.frames``."""
    pick = torch.randint(len(config.frames), (1,), generator=generator, device=generator.device)
    count = config.frames[int(pick)]
    evs, times = exposures(config, generator, batch, count)
    return photograph(render(bank, config, generator, evs, times), config, generator, evs, oracle=oracle)


def photograph(
    rendered: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    config: SynthConfig,
    generator: torch.Generator,
    evs: Tensor,
    *,
    oracle: bool = False,
) -> SyntheticBurst:
    """What a camera makes of frames of radiance: exposed to taste, with noise, clipped, through a tone curve.

    ``rendered``: as ``render`` returns it, the reference first. ``evs``: (B, N), as ``exposures`` draws them.
    """
    frames, still, flow, visible, moving = rendered
    device, batch, count = generator.device, len(evs), evs.shape[1]
    peak = still.amax(dim=1).flatten(1)
    quantile = uniform(generator, (batch,), 0.7, 0.995)
    order = peak[:, :: max(1, peak.shape[1] // 4096)].sort(dim=1).values
    level = order.gather(1, (quantile * (order.shape[1] - 1)).long()[:, None])[:, 0].clamp(min=1e-5)
    bright = torch.exp2(uniform(generator, (batch,), -0.7, 0.3) + config.bias) / level
    gain = torch.exp2(evs).view(batch, count, 1, 1, 1) * bright.view(-1, 1, 1, 1, 1)
    iso = log_uniform(generator, (batch,), config.iso_low, config.iso_high)
    sensor = camera.Sensor(full_well=camera.FULL_WELL / iso, read_noise=uniform(generator, (batch,), 2.0, 5.0))
    draw = uniform(generator, (batch,))  # drawn whatever the kind, so that one seed is one scene in every kind
    wide = draw < {"gamma16": 2.0, "camera8": -1.0, "mixed": 0.35}[config.kind]
    quality = uniform(generator, (batch,), 75.0, 105.0).clamp(max=100)
    if not config.simulate_jpeg:
        quality = torch.full_like(quality, 100.0)
    curve = camera.random_curve(generator, batch)
    flat = torch.linspace(0, 1, camera.CURVE_KNOTS, device=device).expand_as(curve)
    curve = torch.where(wide.view(-1, 1, 1), flat, curve)
    inverse = camera.invert_curve(curve)
    light, held = frames * gain, still[:, None] * gain
    if not config.variety.plain:
        size, aligned = (config.height, config.width), config.shake == "aligned"
        blemishes = draw_blemishes(generator, config.variety, evs, size, aligned=aligned)
        light, held = blemishes.on(light), blemishes.on(held)
    codes = camera.develop(camera.expose(light, sensor, generator), curve, quality, wide)
    tripod = None
    if oracle:
        tripod = camera.develop(camera.expose(held, sensor, generator), curve, quality, wide)
        tripod = camera.undevelop(tripod, inverse)
    error = torch.randn(evs.shape, generator=generator, device=device) * config.ev_error
    error = error * (uniform(generator, (batch, 1)) < 0.5) * (evs != 0)
    if config.variety.misstated:
        error = error + misstated(generator, evs, config.variety.misstated)
    ceiling = torch.exp2(-evs.amin(dim=1)).view(-1, 1, 1, 1)
    target = (still * bright.view(-1, 1, 1, 1)).clamp(max=ceiling)
    return SyntheticBurst(codes, camera.undevelop(codes, inverse), tripod, evs, evs + error, curve, inverse, target,
                          flow, visible, moving)  # fmt: skip


def make_batch(bank: SceneBank, config: SynthConfig, generator: torch.Generator, batch: int) -> Batch:
    """A training batch: bursts as the fusion code hands them on, after alignment and response, with their residues."""
    burst = make_bursts(bank, config, generator, batch)
    linear = burst.linear
    if config.curve_residue > 0:
        residue = camera.random_curve(generator, batch, strength=config.curve_residue)
        linear = camera.apply_table(linear ** (1 / 2.2), residue).clamp(0, 1) ** 2.2
    valid = torch.ones_like(linear[:, :, :1])
    return Batch(linear, burst.stated_evs, valid, burst.target, burst.flow, burst.visible)
