"""Materials (Mitsuba BSDFs) of the scene by name, from a fixed seed."""

from functools import cache
from typing import Any

import mitsuba as mi
import numpy as np
from numpy.typing import NDArray

from scene import textures

SEED = 20261120


def texture(pixels: NDArray[Any], repeat: tuple[float, float] = (1, 1)) -> dict[str, Any]:
    """(H, W, 3) linear pixels, row 0 at the top, as a Mitsuba texture."""
    bitmap = mi.Bitmap(np.ascontiguousarray(pixels[::-1], np.float32))
    scale = mi.ScalarTransform3f().scale([repeat[0], repeat[1]])
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "to_uv": scale, "wrap_mode": "repeat"}


def matte(colour: Any) -> Any:
    """A two-sided diffuse BSDF of a colour or a texture."""
    reflectance = {"type": "rgb", "value": list(colour)} if isinstance(colour, tuple) else colour
    return mi.load_dict({"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": reflectance}})


def glazed(colour: Any, alpha: float = 0.25) -> Any:
    """A two-sided rough plastic of a colour or a texture; ``alpha`` is its roughness."""
    reflectance = {"type": "rgb", "value": list(colour)} if isinstance(colour, tuple) else colour
    inner = {"type": "roughplastic", "diffuse_reflectance": reflectance, "alpha": alpha, "nonlinear": True}
    return mi.load_dict({"type": "twosided", "bsdf": inner})


@cache
def materials() -> dict[str, Any]:
    """All materials by name."""
    rng = np.random.default_rng(SEED)
    plaster = 0.62 + 0.025 * textures.noise(rng, (512, 512), (6, 6), 6)
    titles = (
        "LIGHT",
        "Optics",
        "GHOSTS",
        "Colour",
        "APERTURE",
        "The Garden",
        "PHOTONS",
        "On Noise",
        "SHUTTER",
        "Exposure",
        "1 / 512 s",
    )
    named = {
        "floor": glazed(texture(textures.wood(rng, (1024, 1024), 14)), 0.3),
        "table": matte(texture(textures.wood(rng, (512, 1024), 5, 1.25))),
        "pine": matte(texture(textures.wood(rng, (256, 512), 2, 1.5))),
        "brick": matte(texture(textures.brick(rng, (1024, 1024), 20, 8))),
        "plaster": matte(texture(plaster[..., None] * np.array([1.0, 0.965, 0.90]))),
        "teal": matte(texture((plaster / 0.62)[..., None] * np.array([0.075, 0.17, 0.18]))),
        "ceiling": matte((0.74, 0.73, 0.71)),
        "white": glazed((0.72, 0.71, 0.68)),
        "rug": matte(texture(textures.rug(rng))),
        "curtain": matte(texture(textures.weave(rng, (512, 512), 128, (0.70, 0.62, 0.48), (0.60, 0.50, 0.36)))),
        "runner": matte(texture(textures.weave(rng, (512, 512), 64, (0.62, 0.58, 0.50), (0.08, 0.14, 0.24)))),
        "seat": matte(texture(textures.weave(rng, (256, 256), 48, (0.55, 0.30, 0.06), (0.42, 0.20, 0.04)))),
        "leaf": matte(texture(textures.leaf(rng))),
        "ball": glazed(texture(textures.beach_ball(rng)), 0.2),
        "vase": glazed((0.045, 0.13, 0.24), 0.2),
        "clay": matte((0.46, 0.20, 0.11)),
        "soil": matte((0.035, 0.025, 0.018)),
        "mug": glazed((0.66, 0.60, 0.48), 0.2),
        "orange": glazed((0.72, 0.27, 0.02), 0.25),
        "lemon": glazed((0.76, 0.60, 0.05), 0.25),
        "black": glazed((0.02, 0.02, 0.022), 0.2),
        "red": glazed((0.50, 0.045, 0.03), 0.2),
        "cream": glazed((0.66, 0.60, 0.47), 0.2),
        "steel": glazed((0.17, 0.19, 0.21), 0.2),
        "blossom": matte((0.78, 0.42, 0.44)),
        "stem": matte((0.10, 0.20, 0.05)),
        "label": matte(
            texture(
                textures.lettering((128, 160), [("R-7", 0.5), ("smart", 0.2)], (0.66, 0.6, 0.47), (0.3, 0.03, 0.02))
            )
        ),
        "page": matte(
            texture(
                textures.lettering(
                    (560, 420),
                    [
                        ("THE RANGE OF LIGHT", 0.06),
                        *[
                            (line, 0.033)
                            for line in (
                                "From the lawn in the sun to the floor",
                                "below the table it is twelve stops and",
                                "more; no film holds all of that at once.",
                                "So take three: one for the garden,",
                                "one for the room, one for the shade,",
                                "and let the numbers find each other.",
                                "What moved between them is a ghost,",
                                "and what none of them saw is a guess:",
                                "say which is which. Photons arrive",
                                "one by one; count them, and where",
                                "the count is low, tell the reader so.",
                            )
                        ],
                    ],
                    (0.76, 0.74, 0.68),
                    (0.04, 0.04, 0.05),
                )
            )
        ),
        "poster": matte(
            texture(
                textures.lettering(
                    (720, 500),
                    [("THREE", 0.15), ("exposures", 0.10), ("1/512", 0.14), ("1/64", 0.14), ("1/8", 0.14)],
                    (0.74, 0.70, 0.60),
                    (0.05, 0.08, 0.13),
                )
            )
        ),
    }
    for i in range(26):
        named[f"book{i}"] = matte(texture(textures.spine(rng, titles[i % len(titles)])))
    return named
