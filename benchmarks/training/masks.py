"""A figure of the uncertainty masks: pseudo-labels, their true error, and what each rule keeps of them.

One row per unlabelled scene of a SmartHDR run of ``ablation.py``, which calls this: reference, pseudo-label, ground
truth (unused in training), the pseudo-label's error, sigma, SMAE's weights, the patch mask, patch and pixel mask.
Dropped areas are dark. After Figure 5 of the paper (arXiv 2511.12939).
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from smarthdr_cli.data.prepared import PreparedScene
from smarthdr_cli.evaluate import figures
from smarthdr_cli.models.checkpoint import load_model
from smarthdr_cli.models.saf import SAF
from smarthdr_cli.models.saf_layers import CELL
from smarthdr_cli.models.tensor_ops import mu_law
from smarthdr_cli.train import uncertainty_masks
from smarthdr_cli.train.methods import smae
from smarthdr_cli.train.pseudo_labels import predict_scene
from smarthdr_cli.train.scene_data import PreparedRun, whole

CPU = torch.device("cpu")
HEATMAP_MAX = 0.15  # error and sigma, mu-law domain
DROPPED_BRIGHTNESS = 0.2
ROWS = 3


def write_figure(
    path: Path, run: Path, run_plan: PreparedRun, scenes: list[PreparedScene], truths: list[PreparedScene]
) -> dict[str, float]:
    """Write the figure; ``scenes``: the run's unlabelled ones, ``truths``: the same with ground truth.

    Shows the ROWS scenes with the largest 90th percentile of error. Returns the share each rule keeps and the mean
    error of kept and dropped pixels, over all scenes.
    """
    config = run_plan.config
    teacher, _ = load_model(run / "teacher.safetensors")
    assert isinstance(teacher, SAF)
    teacher.finest = CELL  # as in training
    pseudo_labels = [predict_scene(teacher, scene, CPU, config.precision, config.views) for scene in scenes]
    limits = uncertainty_masks.SigmaRange.from_maps(
        (label.sigma for label in pseudo_labels), high_quantile=config.masks.top
    )
    threshold = smae.Threshold()
    for scene in run_plan.data.labeled:
        prediction = predict_scene(teacher, scene, CPU, config.precision, config.views)
        threshold.labelled.update(smae.patch_loss(prediction.radiance, whole(scene)))
    rerendered = [
        smae.patch_loss(label.radiance, whole(scene)) for label, scene in zip(pseudo_labels, scenes, strict=True)
    ]
    for losses in rerendered:
        threshold.unlabelled.update(losses)
    tau = uncertainty_masks.Thresholds(config.masks.tau_patch, config.masks.tau_pixel)
    rows, scores = [], []
    sums: dict[str, list[NDArray[np.float64]]] = {}
    for label, with_truth, losses in zip(pseudo_labels, truths, rerendered, strict=True):
        batch = whole(with_truth)
        assert batch.target is not None
        scale = float(batch.scale_short[0])
        error = (mu_law(label.radiance * scale) - mu_law(batch.target * scale)).abs().mean(dim=1, keepdim=True)
        rules = {
            "SMAE's weights": smae.weight_map(threshold.weights(losses), *error.shape[-2:]),
            "patch mask": uncertainty_masks.bilevel_mask(label.sigma, limits, tau, use_pixel=False),
            "patch and pixel mask": uncertainty_masks.bilevel_mask(label.sigma, limits, tau),
        }
        for name, weight in rules.items():
            parts = [weight.mean(), (weight * error).mean(), (1 - weight).mean(), ((1 - weight) * error).mean()]
            sums.setdefault(name, []).append(np.array([float(part) for part in parts]))
        label_codes = figures.mu_law_codes(_image(label.radiance * scale))
        cells = [
            ("reference", figures.mu_law_codes(_image(batch.frames[:, 0] * scale))),
            ("pseudo-label", label_codes),
            ("ground truth", figures.mu_law_codes(_image(batch.target * scale))),
            ("its error", figures.heatmap(error[0, 0].numpy(), HEATMAP_MAX)),
            ("sigma", figures.heatmap(label.sigma[0, 0].numpy(), HEATMAP_MAX)),
        ]
        for name, weight in rules.items():
            dim = DROPPED_BRIGHTNESS + (1 - DROPPED_BRIGHTNESS) * weight[0, 0].numpy()[..., None]
            cells.append((name, np.round(label_codes * dim).astype(np.uint8)))
        rows.append(figures.labelled_row(cells))
        scores.append(float(torch.quantile(error, 0.9)))
    worst = sorted(range(len(rows)), key=lambda k: -scores[k])[:ROWS]
    figures.save_png(path, [rows[k] for k in worst])
    statistics = {}
    for name, parts in sums.items():
        kept, kept_error, dropped, dropped_error = np.mean(parts, axis=0)
        statistics[f"{name}: kept"] = float(kept)
        statistics[f"{name}: error kept"] = float(kept_error / max(kept, 1e-9))
        statistics[f"{name}: error dropped"] = float(dropped_error / max(dropped, 1e-9))
    return statistics


def _image(light: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(light[0].permute(1, 2, 0).numpy(), np.float32)
