"""How much of what a synthetic burst is made richer by; all of it off unless asked for."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Variety:
    """Shares in [0, 1] of bursts (B), moving objects (O) or batches that have a thing; 0 draws no number for it.

    Depth: ``depth`` (B), a foreground with gaps (foliage, bars) that shifts against what is behind it by 1 to 20 px.
    Things: ``limbs`` (B), figures whose joints turn; ``twigs`` (B), wires 1 to 3 px wide; ``swarms`` (B), leaves that
    move each its own way; ``large`` (O), fills most of the picture; ``fast`` (O), moves by up to its own size between
    frames; ``lamps`` (O), brighter than the scene; ``across`` (O), crosses the brightest places. Camera: ``uneven``
    (B), every EV step drawn by itself; ``misstated`` (B), exposures off by up to 1/3 EV; ``drift`` (B), white balance;
    ``hot`` (B), hot pixels; ``flicker`` (B), a part of the scene under pulsing light; ``blur`` (batches), the brightest
    frame moves while it is exposed; ``soft`` (sources), out of focus.
    """

    depth: float = 0.0
    limbs: float = 0.0
    twigs: float = 0.0
    swarms: float = 0.0
    large: float = 0.0
    fast: float = 0.0
    lamps: float = 0.0
    across: float = 0.0
    uneven: float = 0.0
    misstated: float = 0.0
    drift: float = 0.0
    hot: float = 0.0
    flicker: float = 0.0
    blur: float = 0.0
    soft: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether there is none."""
        return not any(getattr(self, f.name) for f in fields(self))


# What training sees. Depth and moving things often, since motion is what fusion is worst at; blur is the dear one.
RICH = Variety(
    depth=0.3, limbs=0.2, twigs=0.15, swarms=0.15, large=0.08, fast=0.15, lamps=0.08, across=0.15, uneven=0.3,
    misstated=0.08, drift=0.25, hot=0.25, flicker=0.08, blur=0.1, soft=0.15,
)  # fmt: skip
