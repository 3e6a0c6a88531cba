"""Configuration of synthetic bursts. Field names are the keys of ``[synth]`` in a training file."""

from dataclasses import dataclass, field, fields


@dataclass(frozen=True)
class Variety:
    """How often a synthetic burst has each optional effect.

    Every field is a probability in [0, 1]: per burst, per moving object (O), per batch of bursts (B) or per texture
    (T). At 0 no random number is drawn for the effect, so the frozen benchmarks, made without any, can be made again.
    """

    depth: float = 0.0  # a foreground with gaps (foliage, bars), shifted by 1 to 20 px of parallax
    limbs: float = 0.0  # an articulated figure
    twigs: float = 0.0  # wires 1 to 3 px wide
    swarms: float = 0.0  # leaves, each with its own motion
    people: float = 0.0  # one to three rendered people, where there are sprites of them
    large: float = 0.0  # O: fills most of the picture
    fast: float = 0.0  # O: moves by up to its own size between frames
    lamps: float = 0.0  # O: brighter than the scene
    across: float = 0.0  # O: crosses a bright place
    uneven: float = 0.0  # EV steps differ within the burst
    misstated: float = 0.0  # stated exposures off by up to 1/3 EV
    drift: float = 0.0  # white balance changes between frames
    hot: float = 0.0  # hot pixels
    whitened: float = 0.0  # highlights of an 8-bit burst lose their colour as they clip
    flicker: float = 0.0  # part of the scene is under pulsing light
    blur: float = 0.0  # B: motion blur in the brightest frame
    soft: float = 0.0  # T: out of focus

    @property
    def plain(self) -> bool:
        """Whether every probability is 0."""
        return not any(getattr(self, f.name) for f in fields(self))


# Training's default. Depth and motion are frequent because motion is where fusion errs most; blur is rare because it
# renders every frame's moments.
TRAINING_VARIETY = Variety(
    depth=0.3, limbs=0.2, twigs=0.15, swarms=0.15, people=0.35, large=0.08, fast=0.15, lamps=0.08, across=0.15,
    uneven=0.3, misstated=0.08, drift=0.25, hot=0.25, flicker=0.08, blur=0.1, soft=0.15,
)  # fmt: skip


@dataclass(frozen=True)
class SynthConfig:
    """Distribution of synthetic bursts.

    ``frames``: numbers of frames to draw from. ``kind``: "gamma16" (16 bits, gamma 2.2), "camera8" (8 bits, random
    tone curve) or "mixed". ``shake``: "handheld" (up to ``shake_px`` pixels and about two degrees), "aligned" (the
    residue of alignment) or "tripod". ``reference``: "middle", or "mixed", which is any frame in a fifth of bursts.
    ``simulate_jpeg``: False where a JPEG encoder follows. ``ev_error``: standard deviation of stated EVs.
    ``curve_residue``: strength of the tone curve that remains after linearisation. ``bias``: EV added to all frames.
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
