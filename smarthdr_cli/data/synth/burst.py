"""Synthetic bursts with ground truth: sampled HDR scenes, moving objects, camera shake, and a camera model.

Frame n of a burst is the radiance L_n of the scene at its moment and pose, exposed by the gain g 2^(EV_n), with noise
and clipping, through a tone curve. The truth is the reference's radiance g L_0, in units of its clip and capped at the
shortest frame's clip, and the flow and visibility of every other frame. Index 0 is the reference.

The same code streams training crops and writes benchmarks; it runs on any device, from an explicit generator.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from smarthdr_cli.data.batch import Batch
from smarthdr_cli.data.synth import camera
from smarthdr_cli.data.synth.articulated import draw_figure, draw_swarm, draw_twigs
from smarthdr_cli.data.synth.camera import log_uniform, uniform
from smarthdr_cli.data.synth.compositing import Canvas, SceneObject, true_flow
from smarthdr_cli.data.synth.config import SynthConfig
from smarthdr_cli.data.synth.degradations import draw_degradations, draw_ev_errors, draw_flicker
from smarthdr_cli.data.synth.foreground import draw_foreground
from smarthdr_cli.data.synth.geometry import MotionBlur, camera_motion, pixel_grid
from smarthdr_cli.data.synth.objects import MovingObject, apply_variety, draw_bright_point, draw_object
from smarthdr_cli.data.synth.people import draw_people
from smarthdr_cli.data.synth.sources import SceneBank, Texture
from smarthdr_cli.radiometry import GAMMA

MAX_EV_RANGE = 8.0  # EV between the darkest and the brightest frame: nine frames 4 EV apart exceed any scene
MIN_MOVING_FLOW_PX = 0.75  # an object that moves less counts as static


@dataclass(frozen=True)
class RenderedBurst:
    """A burst before the camera: radiance in arbitrary units, reference first.

    ``radiance``: (B, N, 3, H, W). ``flow``: (B, N-1, 2, H, W) px from the reference to every other frame. ``visible``:
    (B, N-1, 1, H, W), 1 where the reference's surface is visible there. ``moving``: (B, 1, H, W) bool.
    """

    radiance: Tensor
    flow: Tensor
    visible: Tensor
    moving: Tensor


@dataclass(frozen=True)
class SyntheticBurst:
    """A burst after the camera, with its truth; reference first.

    ``codes``: (B, N, 3, H, W) display codes in [0, 1]; ``linear``: the same linearised, 1 = clip. ``static``: like
    ``linear``, but the reference's view in every frame (the oracle's input), or None. ``evs``, ``stated_evs``: (B, N)
    true ones and those that fusion is told. ``curve``, ``inverse_curve``: (B, 3, K) tone curve and its inverse.
    ``target``: (B, 3, H, W) true radiance. ``flow``, ``visible``, ``moving``: as in ``RenderedBurst``.
    """

    codes: Tensor
    linear: Tensor
    static: Tensor | None
    evs: Tensor
    stated_evs: Tensor
    curve: Tensor
    inverse_curve: Tensor
    target: Tensor
    flow: Tensor
    visible: Tensor
    moving: Tensor


def draw_exposures(config: SynthConfig, generator: torch.Generator, batch: int, count: int) -> tuple[Tensor, Tensor]:
    """True EVs (B, N) relative to the reference, and times (B, N) in frame intervals from it; both 0 at index 0."""
    device = generator.device
    steps = torch.tensor(config.ev_steps, device=device)
    step = steps[torch.randint(len(steps), (batch, 1), generator=generator, device=device)]
    gaps = step * torch.exp(uniform(generator, (batch, count - 1), -0.15, 0.15))
    if config.variety.uneven:
        independent = steps[torch.randint(len(steps), gaps.shape, generator=generator, device=device)]
        gaps = torch.where(uniform(generator, (batch, 1)) < config.variety.uneven, independent, gaps)
    if not config.variety.plain:
        gaps = gaps * (MAX_EV_RANGE / gaps.sum(dim=1, keepdim=True)).clamp(max=1)
    level = torch.cat([torch.zeros(batch, 1, device=device), gaps.cumsum(1)], 1)
    middle = torch.full((batch,), (count - 1) // 2, device=device)
    any_frame = torch.randint(count, (batch,), generator=generator, device=device)
    reference = torch.where(uniform(generator, (batch,)) < 0.8, middle, any_frame)
    if config.reference == "middle":
        reference = middle
    level = level - level.gather(1, reference[:, None])
    index = torch.arange(count, device=device).expand(batch, -1)
    order = torch.argsort((index != reference[:, None]).int(), dim=1, stable=True)  # reference first, then by exposure
    return level.gather(1, order), (order - reference[:, None]).float()


def render(
    bank: SceneBank, config: SynthConfig, generator: torch.Generator, evs: Tensor, times: Tensor
) -> RenderedBurst:
    """Render every frame's radiance. ``evs``, ``times``: (B, N) of ``draw_exposures``; EVs matter to blur only."""
    variety = config.variety
    batch, count = times.shape
    size = (config.height, config.width)
    displacement = camera_motion(generator, batch, count, size, shake=config.shake, reach_px=config.shake_px)
    blur = None
    if variety.blur and float(uniform(generator, (1,))) < variety.blur:
        blur = MotionBlur.draw(generator, evs, times)
    foreground = None
    rows = draw_rows(generator, batch, variety.depth)
    if len(rows):
        foreground, background_shift = draw_foreground(generator, rows, times[rows], size)
        displacement[rows] += background_shift[:, :, None, None]
    if blur is not None:
        displacement = blur.extend_displacement(displacement)
    backdrop = Texture.draw(bank, generator, batch, variety.soft)
    points = pixel_grid(*size, generator.device) + displacement
    frames = backdrop.sample(bank, points.flatten(1, 2))
    frames = frames.view(batch, 3, -1, *size).transpose(1, 2).contiguous()
    if variety.flicker:
        gain = draw_flicker(generator, points[:, :count], variety.flicker)
        frames = frames * (gain if blur is None else blur.extend_static(gain))
    labels = torch.zeros_like(frames[:, :, :1])
    canvas = Canvas(frames, labels, displacement, constant_brightness=not variety.plain)
    objects: list[SceneObject] = []

    def composite(scene_object: SceneObject, texture: Texture | None) -> None:
        first_label = 1 + sum(other.part_count for other in objects)
        drawn = scene_object if blur is None else scene_object.with_blur(blur)
        if texture is None:
            canvas.composite_rendered(drawn, first_label)
        else:
            canvas.composite(drawn, first_label, texture, bank)
        objects.append(scene_object)

    rigid: MovingObject | None = None
    bright_point = None if variety.plain else draw_bright_point(frames[:, 0], generator)
    for _ in range(config.objects):
        rigid = draw_object(generator, batch, times, size, rigid)
        if bright_point is not None:
            rigid = apply_variety(rigid, variety, generator, times, size, bright_point)
        composite(rigid, Texture.draw(bank, generator, batch, variety.soft))
    for probability, draw in ((variety.limbs, draw_figure), (variety.twigs, draw_twigs), (variety.swarms, draw_swarm)):
        rows = draw_rows(generator, batch, probability)
        if len(rows):
            scene_object = draw(generator, rows, times[rows], size)
            composite(scene_object, Texture.draw(bank, generator, len(rows), variety.soft))
    rows = draw_rows(generator, batch, variety.people if bank.people else 0.0)
    if len(rows):
        for person in draw_people(generator, bank.people, rows, times[rows], size, backdrop.horizon(bank)[rows]):
            composite(person, None)
    if foreground is not None:
        composite(foreground, Texture.draw(bank, generator, len(foreground.rows), variety.soft))
    if blur is not None:
        frames = blur.integrate(frames)
        displacement, labels = displacement[:, :count], labels[:, :count]
    flow, visible = true_flow(displacement, objects, labels)
    changed = (flow.norm(dim=2, keepdim=True) > MIN_MOVING_FLOW_PX) | (visible < 0.5)
    moving = ((changed & (labels[:, :1] > 0)) | (visible < 0.5)).any(dim=1)
    return RenderedBurst(frames, flow, visible, moving)


def draw_rows(generator: torch.Generator, batch: int, probability: float) -> Tensor:
    """Indices of the bursts that have an effect of this probability; at 0 no random number is drawn."""
    if not probability:
        return torch.zeros(0, dtype=torch.long, device=generator.device)
    return (uniform(generator, (batch,)) < probability).nonzero()[:, 0]


def make_bursts(
    bank: SceneBank, config: SynthConfig, generator: torch.Generator, batch: int, *, oracle: bool = False
) -> SyntheticBurst:
    """``batch`` bursts with one number of frames, drawn from ``config.frames``; ``oracle`` fills ``static``."""
    pick = torch.randint(len(config.frames), (1,), generator=generator, device=generator.device)
    count = config.frames[int(pick)]
    evs, times = draw_exposures(config, generator, batch, count)
    return simulate_camera(render(bank, config, generator, evs, times), config, generator, evs, oracle=oracle)


def simulate_camera(
    rendered: RenderedBurst,
    config: SynthConfig,
    generator: torch.Generator,
    evs: Tensor,
    *,
    oracle: bool = False,
) -> SyntheticBurst:
    """Expose rendered frames so that a random quantile of the reference is near its clip, and develop them.

    ``evs``: (B, N) of ``draw_exposures``. ``oracle`` fills ``static``.
    """
    reference = rendered.radiance[:, 0]
    device, batch, count = generator.device, len(evs), evs.shape[1]
    peak = reference.amax(dim=1).flatten(1)
    quantile = uniform(generator, (batch,), 0.7, 0.995)
    ordered = peak[:, :: max(1, peak.shape[1] // 4096)].sort(dim=1).values
    level = ordered.gather(1, (quantile * (ordered.shape[1] - 1)).long()[:, None])[:, 0].clamp(min=1e-5)
    reference_gain = torch.exp2(uniform(generator, (batch,), -0.7, 0.3) + config.bias) / level
    gain = torch.exp2(evs).view(batch, count, 1, 1, 1) * reference_gain.view(-1, 1, 1, 1, 1)
    iso = log_uniform(generator, (batch,), config.iso_low, config.iso_high)
    sensor = camera.Sensor(full_well=camera.FULL_WELL / iso, read_noise=uniform(generator, (batch,), 2.0, 5.0))
    number = uniform(generator, (batch,))  # drawn for every kind, so that a seed is the same scene in all of them
    bits16 = number < {"gamma16": 2.0, "camera8": -1.0, "mixed": 0.35}[config.kind]
    quality = uniform(generator, (batch,), 75.0, 105.0).clamp(max=100)
    if not config.simulate_jpeg:
        quality = torch.full_like(quality, 100.0)
    curve = camera.draw_tone_curve(generator, batch)
    identity = torch.linspace(0, 1, camera.CURVE_KNOTS, device=device).expand_as(curve)
    curve = torch.where(bits16.view(-1, 1, 1), identity, curve)
    inverse_curve = camera.invert_curve(curve)
    light, static_light = rendered.radiance * gain, reference[:, None] * gain
    if not config.variety.plain:
        size, aligned = (config.height, config.width), config.shake == "aligned"
        degradations = draw_degradations(generator, config.variety, evs, size, aligned=aligned, bits16=bits16)
        light, static_light = degradations.apply(light), degradations.apply(static_light)
    codes = camera.develop(camera.expose(light, sensor, generator), curve, quality, bits16)
    static = None
    if oracle:
        static = camera.develop(camera.expose(static_light, sensor, generator), curve, quality, bits16)
        static = camera.linearize(static, inverse_curve)
    error = torch.randn(evs.shape, generator=generator, device=device) * config.ev_error
    error = error * (uniform(generator, (batch, 1)) < 0.5) * (evs != 0)
    if config.variety.misstated:
        error = error + draw_ev_errors(generator, evs, config.variety.misstated)
    shortest_clip = torch.exp2(-evs.amin(dim=1)).view(-1, 1, 1, 1)
    target = (reference * reference_gain.view(-1, 1, 1, 1)).clamp(max=shortest_clip)
    return SyntheticBurst(
        codes=codes, linear=camera.linearize(codes, inverse_curve), static=static, evs=evs, stated_evs=evs + error,
        curve=curve, inverse_curve=inverse_curve, target=target,
        flow=rendered.flow, visible=rendered.visible, moving=rendered.moving,
    )  # fmt: skip


def make_batch(bank: SceneBank, config: SynthConfig, generator: torch.Generator, batch: int) -> Batch:
    """A training batch: bursts after alignment and response estimation, with the residual errors of both."""
    burst = make_bursts(bank, config, generator, batch)
    linear = burst.linear
    if config.curve_residue > 0:
        residue = camera.draw_tone_curve(generator, batch, strength=config.curve_residue)
        linear = camera.linearize(linear ** (1 / GAMMA), residue)
    valid = torch.ones_like(linear[:, :, :1])
    return Batch(linear, burst.stated_evs, valid, burst.target, burst.flow, burst.visible)
