"""What the masks drop, in pictures: pseudo-labels, where they are wrong, and what each rule makes of it.

One row a scene, of unlabelled scenes of a SmartHDR run of ablation.py (which calls this): reference, pseudo-label,
ground truth (which no run has seen), the pseudo-label's true error, the judge's sigma, SMAE's weights, our patch mask,
and patch and pixel masks together. Dropped areas are dark. The figure is after the paper's Figure 5.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.evaluate import sheet
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train import uncertainty_masks
from smarthdr_cli.train.methods import smae
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.scene_run import Plan
from smarthdr_cli.train.scene_session import whole

CPU = torch.device("cpu")
TOP = 0.15  # of the maps of error and sigma, in the mu-law domain
DARK = 0.2


def picture(
    path: Path, run: Path, planned: Plan, scenes: list[PreparedScene], truths: list[PreparedScene]
) -> dict[str, float]:
    """Write the figure; ``scenes`` are the run's unlabelled ones, ``truths`` the same with ground truth.

    Shows the three whose pseudo-labels are worst in parts. Returns shares kept by the three rules and the mean error in
    what is kept and dropped, over all scenes.
    """
    config = planned.config
    teacher, _ = load_model(run / "teacher.safetensors")
    teacher.set_finest_cell(CELL)  # as it learned
    found = [predict_scene(teacher, scene, CPU, config.precision, config.views) for scene in scenes]
    limits = uncertainty_masks.SigmaRange.from_maps((one.sigma for one in found), high_quantile=config.masks.top)
    threshold = smae.Threshold()
    for scene in planned.data.labeled:
        seen = predict_scene(teacher, scene, CPU, config.precision, config.views)
        threshold.update(smae.patch_loss(seen.radiance, whole(scene)))
    rerendered = [smae.patch_loss(one.radiance, whole(scene)) for one, scene in zip(found, scenes, strict=True)]
    for losses in rerendered:
        threshold.update_unlabelled(losses)
    tau = uncertainty_masks.Thresholds(config.masks.tau_patch, config.masks.tau_pixel)
    rows, scores = [], []
    sums: dict[str, list[NDArray[np.float64]]] = {}
    for one, with_truth, losses in zip(found, truths, rerendered, strict=True):
        batch = whole(with_truth)
        assert batch.target is not None
        scale = float(batch.scale_short[0])
        error = (mu_law(one.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1, keepdim=True)
        rules = {
            "SMAE's weights": smae.weight_map(threshold.weights(losses), *error.shape[-2:]),
            "patch mask": uncertainty_masks.bilevel_mask(one.sigma, limits, tau, use_pixel=False),
            "patch and pixel mask": uncertainty_masks.bilevel_mask(one.sigma, limits, tau),
        }
        for name, weight in rules.items():
            parts = [weight.mean(), (weight * error).mean(), (1 - weight).mean(), ((1 - weight) * error).mean()]
            sums.setdefault(name, []).append(np.array([float(part) for part in parts]))
        shown = sheet.toned(_image(one.radiance * scale))
        cells = [
            ("reference", sheet.toned(_image(batch.frames[:, 0] * scale))),
            ("pseudo-label", shown),
            ("ground truth", sheet.toned(_image(batch.target * scale))),
            ("its error", sheet.heat(error[0, 0].numpy(), TOP)),
            ("sigma", sheet.heat(one.sigma[0, 0].numpy(), TOP)),
        ]
        for name, weight in rules.items():
            dim = DARK + (1 - DARK) * weight[0, 0].numpy()[..., None]
            cells.append((name, np.round(shown * dim).astype(np.uint8)))
        rows.append(sheet.row(cells))
        scores.append(float(torch.quantile(error, 0.9)))
    worst = sorted(range(len(rows)), key=lambda k: -scores[k])[:3]
    sheet.save(path, [rows[k] for k in worst])
    figures = {}
    for name, parts in sums.items():
        kept, kept_error, dropped, dropped_error = np.mean(parts, axis=0)
        figures[f"{name}: kept"] = float(kept)
        figures[f"{name}: error kept"] = float(kept_error / max(kept, 1e-9))
        figures[f"{name}: error dropped"] = float(dropped_error / max(dropped, 1e-9))
    return figures


def _image(light: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(light[0].permute(1, 2, 0).numpy(), np.float32)
