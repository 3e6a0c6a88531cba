"""Synthetic bursts: a radiance source, a hand that shakes, things that move, and a camera that clips and adds noise.

Made in batches on any device from an explicit generator; the same code streams training crops and writes benchmarks.
Every burst comes with its truth: radiance at the reference's moment and pose, displacement and visibility.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from smarthdr_cli.data import camera
from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.camera import log_uniform, uniform
from smarthdr_cli.data.objects import MovingObject, draw_object
from smarthdr_cli.data.scenes import SceneBank


@dataclass(frozen=True)
class SynthConfig:
    """What kind of bursts to make.

    ``kind``: gamma16, camera8 or mixed. ``shake``: "aligned" leaves only the residue that alignment leaves (training,
    after align); "handheld" moves the camera by ``shake_px`` and two degrees or so. ``reference``: "mixed" draws it,
    now
    and then from the ends of the range; "middle" takes the middle frame. ``simulate_jpeg``: False where a real encoder
    follows. ``ev_error``, ``curve_residue``: how wrong exposures and curves may still be when fusion begins.
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


def pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    """(H, W, 2) pixel centres (x, y) relative to the middle of the picture."""
    y = torch.arange(height, device=device, dtype=torch.float32) - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def exposures(config: SynthConfig, generator: torch.Generator, batch: int, count: int) -> tuple[Tensor, Tensor]:
    """True EVs (B, N) relative to the reference (index 0) and the moment (B, N) of each frame, 0 at the reference."""
    device = generator.device
    steps = torch.tensor(config.ev_steps, device=device)
    step = steps[torch.randint(len(steps), (batch, 1), generator=generator, device=device)]
    gaps = step * torch.exp(uniform(generator, (batch, count - 1), -0.15, 0.15))
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


def camera_motion(config: SynthConfig, generator: torch.Generator, batch: int, count: int) -> Tensor:
    """(B, N, H, W, 2): where each pixel of a frame looks in the reference view, as a displacement; 0 at index 0."""
    device = generator.device
    height, width = config.height, config.width
    grid = pixel_grid(height, width, device)
    if config.shake == "handheld":
        reach = log_uniform(generator, (batch, 1), 1.0, config.shake_px).expand(-1, count)
        turn = 0.035
    else:  # what alignment leaves: mostly a fraction of a pixel, sometimes a failure, sometimes nothing at all
        pick = uniform(generator, (batch, count))
        reach = torch.where(pick < 0.65, 0.4, torch.where(pick < 0.85, 3.0, 14.0))
        reach = reach * (pick > 0.08)
        turn = 0.5 / max(height, width)
    normal = torch.randn((batch, count, 8), generator=generator, device=device)
    shift = normal[..., :2] * 0.6 * reach[..., None]
    turned = normal[..., 2] * turn * (reach > 0)
    zoom = normal[..., 3] * turn * 0.3 * (reach > 0)
    tilt = normal[..., 4:6] * turn * 0.2 / max(height, width) * (reach > 0)[..., None]
    cos, sin = torch.cos(turned) * (1 + zoom), torch.sin(turned) * (1 + zoom)
    x, y = grid[..., 0], grid[..., 1]
    view = (..., None, None)
    px, py = cos[view] * x - sin[view] * y, sin[view] * x + cos[view] * y
    depth = 1 + tilt[..., 0][view] * x + tilt[..., 1][view] * y
    looked = torch.stack([px, py], -1) / depth[..., None] + shift[:, :, None, None]
    displacement = looked - grid
    cells = int(torch.randint(2, 9, (1,), generator=generator, device=device))
    field = torch.randn((batch * count, 2, cells, cells), generator=generator, device=device)
    parallax = log_uniform(generator, (batch, count), 0.2, 6.0) * (uniform(generator, (batch, 1)) < 0.5)
    smooth = F.interpolate(field, size=(height, width), mode="bicubic", align_corners=True)
    displacement = (
        displacement + smooth.view(batch, count, 2, height, width).permute(0, 1, 3, 4, 2) * parallax[view][..., None]
    )
    displacement[:, 0] = 0
    return displacement


def look_up(field: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """(B, C, H, W) sampled at (B, h, w, 2) pixel points relative to its middle, edges repeated."""
    h, w = field.shape[-2:]
    unit = points * torch.tensor([2.0 / w, 2.0 / h], device=points.device)
    return F.grid_sample(field, unit, mode=mode, padding_mode="border", align_corners=False)


def sample_source(bank: SceneBank, source: int, points: Tensor, centre: Tensor, scale: float) -> Tensor:
    """(3, h, w) radiance of a source at (h, w, 2) points in pixels, ``scale`` source pixels per pixel, wrapped in x."""
    level = min(max(round(math.log2(max(scale, 1.0))), 0), len(bank.mips) - 1)
    mip = bank.mips[level][source]
    _, height, width = mip.shape
    factor = scale / 2**level
    where = points * factor + centre * torch.tensor([width, height], device=points.device)
    low = where.amin(dim=(0, 1)).floor().long() - 1
    high = where.amax(dim=(0, 1)).ceil().long() + 2
    columns = torch.arange(int(low[0]), int(high[0]), device=points.device) % width
    rows = torch.arange(int(low[1]), int(high[1]), device=points.device).clamp(0, height - 1)
    patch = mip[:, rows][:, :, columns].float()
    size = torch.tensor([patch.shape[2], patch.shape[1]], device=points.device)
    unit = (where - low + 0.5) / size * 2 - 1
    return F.grid_sample(patch[None], unit[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def _sources(bank: SceneBank, generator: torch.Generator, batch: int) -> tuple[list[int], Tensor, list[float]]:
    index = torch.randint(len(bank), (batch,), generator=generator, device=generator.device).tolist()
    centre = torch.stack([uniform(generator, (batch,)), uniform(generator, (batch,), 0.25, 0.75)], -1)
    scale = log_uniform(generator, (batch,), 0.5, 2.0).tolist()
    return index, centre, scale


def render(
    bank: SceneBank, config: SynthConfig, generator: torch.Generator, batch: int, count: int, times: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Radiance (B, N, 3, H, W) of every frame, the static reference view (B, 3, H, W), flow, visible and moving."""
    device = generator.device
    height, width = config.height, config.width
    grid = pixel_grid(height, width, device)
    motion = camera_motion(config, generator, batch, count)
    index, centre, scale = _sources(bank, generator, batch)
    frames = torch.stack([
        sample_source(bank, index[b], (grid + motion[b]).flatten(0, 1), centre[b], scale[b])
        .view(3, count, height, width).transpose(0, 1) for b in range(batch)])  # fmt: skip
    layers = torch.zeros((batch, count, 1, height, width), device=device)
    points = grid.expand(batch, -1, -1, -1)
    objects: list[MovingObject] = []
    for number in range(1, config.objects + 1):
        thing = draw_object(generator, batch, times, (height, width), objects[-1] if objects else None)
        objects.append(thing)
        o_index, o_centre, o_scale = _sources(bank, generator, batch)
        for n in range(count):
            local = thing.local(points + motion[:, n], n)
            alpha = thing.coverage(local)
            near = local.clamp(-2 * height, 2 * height)
            skin = torch.stack(
                [sample_source(bank, o_index[b], near[b], o_centre[b], o_scale[b]) for b in range(batch)]
            )
            level = frames[:, n].mean(dim=(1, 2, 3), keepdim=True)
            skin = skin / skin.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6) * level.clamp(max=4.0)
            gain = thing.gain.view(-1, 1, 1, 1)
            shade = thing.shadow.view(-1, 1, 1, 1)
            colour = torch.where(shade, frames[:, n] * gain.clamp(0.2, 2.0), skin * gain)
            frames[:, n] = torch.lerp(frames[:, n], colour, alpha)
            layers[:, n] = torch.where((alpha > 0.5) & ~shade, float(number), layers[:, n])
    flow, visible = true_motion(motion, objects, layers)
    still = frames[:, :1]
    drift = (flow.norm(dim=2, keepdim=True) > 0.75) | (visible < 0.5)
    moving = ((drift & (layers[:, :1] > 0)) | (visible < 0.5)).any(dim=1)
    return frames, still[:, 0], flow, visible, moving


def true_motion(motion: Tensor, objects: list[MovingObject], layers: Tensor) -> tuple[Tensor, Tensor]:
    """Displacement (B, N-1, 2, H, W) from the reference to each other frame and where the same surface is seen there.

    The camera's displacement field is inverted by fixed-point iteration; objects' poses in closed form.
    """
    batch, count, height, width, _ = motion.shape
    points = pixel_grid(height, width, motion.device).expand(batch, -1, -1, -1)
    flows, seen = [], []
    for n in range(1, count):
        shift = motion[:, n].permute(0, 3, 1, 2)

        def into_frame(world: Tensor, shift: Tensor = shift) -> Tensor:
            found = world
            for _ in range(4):
                found = world - look_up(shift, found).permute(0, 2, 3, 1)
            return found

        target = into_frame(points)
        for number, thing in enumerate(objects, start=1):
            there = into_frame(thing.placed(thing.local(points, 0), n))
            target = torch.where((layers[:, 0, 0] == number)[..., None], there, target)
        limit = torch.tensor([width / 2, height / 2], device=motion.device)
        inside = (target.abs() <= limit).all(dim=-1)[:, None]
        same = look_up(layers[:, n], target, mode="nearest") == layers[:, 0]
        flows.append((target - points).permute(0, 3, 1, 2))
        seen.append((inside & same).float())
    return torch.stack(flows, 1), torch.stack(seen, 1)


def make_bursts(
    bank: SceneBank, config: SynthConfig, generator: torch.Generator, batch: int, *, oracle: bool = False
) -> SyntheticBurst:
    """``batch`` bursts with one number of frames, drawn from ``config.frames``."""
    device = generator.device
    count = config.frames[int(torch.randint(len(config.frames), (1,), generator=generator, device=device))]
    evs, times = exposures(config, generator, batch, count)
    frames, still, flow, visible, moving = render(bank, config, generator, batch, count, times)
    peak = still.amax(dim=1).flatten(1)
    quantile = uniform(generator, (batch,), 0.7, 0.995)
    order = peak[:, :: max(1, peak.shape[1] // 4096)].sort(dim=1).values
    level = order.gather(1, (quantile * (order.shape[1] - 1)).long()[:, None])[:, 0].clamp(min=1e-5)
    bright = torch.exp2(uniform(generator, (batch,), -0.7, 0.3)) / level
    gain = torch.exp2(evs).view(batch, count, 1, 1, 1) * bright.view(-1, 1, 1, 1, 1)
    iso = log_uniform(generator, (batch,), config.iso_low, config.iso_high)
    sensor = camera.Sensor(full_well=6e6 / iso, read_noise=uniform(generator, (batch,), 2.0, 5.0))
    draw = uniform(generator, (batch,))  # drawn whatever the kind, so that one seed is one scene in every kind
    wide = draw < {"gamma16": 2.0, "camera8": -1.0, "mixed": 0.35}[config.kind]
    quality = uniform(generator, (batch,), 75.0, 105.0).clamp(max=100)
    if not config.simulate_jpeg:
        quality = torch.full_like(quality, 100.0)
    curve = camera.random_curve(generator, batch)
    flat = torch.linspace(0, 1, camera.CURVE_KNOTS, device=device).expand_as(curve)
    curve = torch.where(wide.view(-1, 1, 1), flat, curve)
    inverse = camera.invert_curve(curve)
    codes = camera.develop(camera.expose(frames * gain, sensor, generator), curve, quality, wide)
    tripod = None
    if oracle:
        tripod = camera.develop(camera.expose(still[:, None] * gain, sensor, generator), curve, quality, wide)
        tripod = camera.undevelop(tripod, inverse)
    error = torch.randn(evs.shape, generator=generator, device=device) * config.ev_error
    error = error * (uniform(generator, (batch, 1)) < 0.5) * (evs != 0)
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
