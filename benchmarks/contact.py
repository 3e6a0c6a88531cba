"""Contact sheets of real bursts, which have no ground truth: to be looked at, and what is wrong written down.

    python benchmarks/contact.py --bursts FOLDER --out FOLDER [--names NAME ...]

One burst a folder; an ``ev.txt`` in it (one EV a line, in the order of the names) states exposures that EXIF does not.
A sheet shows the reference frame, ours, OpenCV's AlignMTB + Debevec and AlignMTB + Mertens, and our uncertainty: the
whole view, then three crops at 100 % (see ``interests``). Ours and Debevec's are drawn by one tone mapping, planned on
ours, at one exposure: where they agree they look alike. Mertens' is a display picture and drawn as it is.

The sheets go to ``--out`` alone, each with its figures, so that a few can be made anew (``--names``, or none of them).
Writes the section "contact" of RESULTS.md (``contact_words.py``) once every burst has its sheet.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from contact_words import WORDS, read_words, section
from numpy.typing import NDArray

from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.colorspace import REC709, convert_rgb
from smarthdr_cli.evaluate import baselines, comparison, protocol, report, sheet, stacks
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.models.weights import read_manifest, weights_dir
from smarthdr_cli.output import tonemap
from smarthdr_cli.output.heatmap import MAX_SIGMA, MIN_SIGMA, colour_index, colour_table
from smarthdr_cli.output.preview import render_srgb

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Place = tuple[slice, slice]

HERE = Path(__file__).parent
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
WIDTH = 396  # pixels of a column, and of a crop's side: five columns make 2000
CELL = 4  # pixels; places are chosen on maps reduced by this much, so that noise and a pixel's misalignment do not
BUSY = 0.95  # a place counts as different from this quantile of a map on
READABLE = (0.05, 0.8)  # linear share of the reference's clip within which the reference alone shows what there is
MAX_PIXELS = 4_000_000  # of a frame; of larger ones the middle, at full size


class Sheet(NamedTuple):
    """The rows of a sheet and what the table says of its burst."""

    rows: list[U8]
    figures: list[Any]


def bursts(root: Path) -> list[Path]:
    """The folders of ``root`` with at least two pictures."""
    return [folder for folder in sorted(root.iterdir()) if folder.is_dir() and len(pictures(folder)) > 1]


def pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def middle(burst: Burst, limit: int) -> Burst:
    """The middle of every frame, of at most ``limit`` pixels and the whole's shape; the burst itself where less."""
    height, width = burst.size
    share = (limit / (height * width)) ** 0.5
    if share >= 1:
        return burst
    h, w = int(height * share), int(width * share)
    rows, columns = slice((height - h) // 2, (height + h) // 2), slice((width - w) // 2, (width + w) // 2)

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(array[rows, columns])

    frames = [
        replace(frame, codes=cut(frame.codes), clipped=None if frame.clipped is None else cut(frame.clipped))
        for frame in burst.frames
    ]
    return replace(burst, frames=tuple(frames))


def fused(folder: Path, limit: int) -> FusionResult:
    """What ``fuse`` makes of a burst with its defaults."""
    stated = folder / "ev.txt"
    evs = [float(line) for line in stated.read_text("utf-8").split()] if stated.exists() else None
    options, clock = FuseOptions(evs=evs), StageTimer()
    return fuse_loaded(middle(load(pictures(folder), options, clock).burst, limit), options, clock)


def merged(ours: FusionResult, frames: Sequence[NDArray[Any]]) -> F32:
    """Calibrated Debevec of ``frames`` in the units of ``ours``, by one factor fitted where the reference sees well."""
    evs = ours.burst.evs
    light = baselines.debevec(frames, np.exp2(evs - evs[0]).tolist())
    light = np.nan_to_num(convert_rgb(light, ours.burst.frames[0].colorspace, REC709), posinf=0.0)
    well = protocol.fit_pixels(ours.radiance, 1.0, None)
    return np.asarray(light * np.float32(protocol.fit_scale(light, ours.radiance, well)), np.float32)


def cells(values: F32) -> F32:
    """(H, W) to the means of whole CELL x CELL squares."""
    height, width = (side // CELL for side in values.shape)
    whole = np.ascontiguousarray(values[: height * CELL, : width * CELL])
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def places(maps: Sequence[F32], size: int) -> list[Place]:
    """For each map of interest (H, W), reduced by CELL, the square of ``size`` full pixels with the most of its upper
    values; later squares look where earlier ones did not.
    """
    free = np.ones(maps[0].shape, np.bool_)
    found = []
    for interest in maps:
        left = interest[free]
        busy = free & (interest > 0) & (interest >= np.quantile(left, BUSY)) if left.size else free
        rows, columns = sheet.busiest(busy, size // CELL)
        free[rows, columns] = False
        found.append(tuple(slice(side.start * CELL, side.stop * CELL) for side in (rows, columns)))
    return [(rows, columns) for rows, columns in found]


def interests(ours: FusionResult, debevec: F32) -> list[F32]:
    """Where to look, each reduced by CELL, in the mu-law domain: ours against the reference frame alone where that one
    reads well (ghosts, smears and casts of ours), ours against Debevec, and our own sigma where it is not simply that
    every frame is clipped.
    """
    short = np.float32(ours.scale_short)
    light = np.clip(ours.radiance, 0, None)
    codes = baselines.to_8_bits(ours.burst.frames[ours.burst.reference].codes)
    few, seen = stacks.thin(codes), stacks.thin(light)
    # What a code of the reference becomes in most of the picture is no difference, whatever its curve.
    alone = baselines.reference_alone(codes, 1.0, baselines.curve_from_truth(few, seen, np.ones(few.shape[:2], bool)))
    reads = ((alone > READABLE[0]) & (alone < READABLE[1])).all(axis=2)
    ghosts = np.where(reads, comparison.error_map(light * short, alone * short), 0)
    apart = comparison.error_map(light * short, np.clip(debevec, 0, None) * short)
    sigma = np.where(ours.uncertainty < 1, ours.uncertainty, 0)
    return [cells(np.asarray(values, np.float32)) for values in (ghosts, apart, sigma)]


def make(folder: Path, limit: int) -> Sheet:
    """Fuse a burst by every method and draw them."""
    ours = fused(folder, limit)
    frames = baselines.align_mtb([baselines.to_8_bits(f.codes) for f in ours.burst.frames], ours.burst.reference)
    debevec = merged(ours, frames)
    shown = places(interests(ours, debevec), WIDTH)
    tone = tonemap.fit_tone_map(ours.radiance, ours.colorspace, ours.anchor_ev)
    columns = {
        f"reference, {ours.burst.frames[ours.burst.reference].path.name}": baselines.to_8_bits(
            ours.burst.frames[ours.burst.reference].codes
        ),
        "ours": np.asarray(render_srgb(ours, 8, tone), np.uint8),
        "AlignMTB + Debevec": np.asarray(render_srgb(replace(ours, radiance=debevec), 8, tone), np.uint8),
    }
    del debevec
    columns["AlignMTB + Mertens"] = np.round(baselines.mertens(frames) * 255).astype(np.uint8)
    columns[f"sigma, log, {MIN_SIGMA:g} to {MAX_SIGMA:g}"] = colour_table()[colour_index(ours.uncertainty)]
    rows = [sheet.row([(name, small(marked(picture, shown))) for name, picture in columns.items()])]
    for number, (what, where) in enumerate(zip(("ours : reference", "ours : Debevec", "sigma"), shown, strict=True)):
        title = f"{number + 1}: {what}, {where[1].start},{where[0].start}"
        rows.append(sheet.row([(title if at == 0 else "", p[where]) for at, p in enumerate(columns.values())]))
    return Sheet(rows, figures(ours))


def marked(picture: U8, shown: Sequence[Place]) -> U8:
    """The whole view with the numbered frames of the crops."""
    out = picture.copy()
    thick = max(1, round(out.shape[1] / WIDTH))
    for number, (rows, columns) in enumerate(shown):
        corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
        cv2.rectangle(out, *corners, (255, 210, 0), 2 * thick)
        at = (columns.start + 6 * thick, rows.start + 22 * thick)
        cv2.putText(out, str(number + 1), at, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * thick, (255, 210, 0), 2 * thick)
    return out


def small(picture: U8) -> U8:
    """``picture`` at the width of a column."""
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    return np.asarray(cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def figures(ours: FusionResult) -> list[Any]:
    """Frames, span in EV, size, mean sigma, share clipped in every frame, share away from the physical merge."""
    evs, (height, width) = ours.burst.evs, ours.burst.size
    clipped = float((ours.uncertainty >= 1).mean())
    changed = ours.report.statistics.difference.changed
    return [len(evs), f"{evs[0]:+.1f} to {evs[-1]:+.1f}", f"{width}x{height}", f"{ours.mean_uncertainty:.4f}",
            f"{clipped:.1%}", f"{changed:.1%}"]  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="contact sheets of real bursts")
    parser.add_argument("--bursts", type=Path, required=True, help="folder of bursts, one folder each")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets, outside the repository")
    parser.add_argument("--names", nargs="*", help="make only these sheets, and keep the others in --out")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="of larger frames the middle is taken")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md")
    options = parser.parse_args()
    if options.out.resolve().is_relative_to(HERE.parent):
        parser.error("--out lies in the repository; the photographs may have no free licence")
    return options


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = bursts(options.bursts)
    for folder in folders:
        if options.names is None or folder.name in options.names:
            rows, said = make(folder, options.max_pixels)
            sheet.save(options.out / f"{folder.name}.png", rows)
            report.write_json(options.out / f"{folder.name}.json", {"figures": said})
            print(folder.name, *said, file=sys.stderr, flush=True)
    kept = {folder.name: options.out / f"{folder.name}.json" for folder in folders}
    found = {name: json.loads(path.read_text("utf-8"))["figures"] for name, path in kept.items() if path.exists()}
    weights = next(entry for entry in read_manifest(weights_dir()) if entry.default)
    text = section(found, read_words(WORDS), weights.sha256)
    print(text)
    if len(found) == len(folders):
        report.write_section(options.results, "contact", text)


if __name__ == "__main__":
    main()
