"""Rendered bursts: random scenes of true depth, a hand that moves, things that move by themselves, no noise in light.

``places`` draws what there is, ``light`` shades it, ``rays`` casts the rays (with Mitsuba 3, and nothing else does),
``moved`` says what moved, and ``develop`` puts the light through the camera of smarthdr_cli/data. Textures are those of
the example burst (examples/scene).
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "examples"))  # for the package "scene"
