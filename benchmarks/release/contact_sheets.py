"""Contact sheets of real bursts without ground truth, for visual inspection.

    python -m benchmarks.release.contact_sheets --bursts FOLDER --out FOLDER [--names NAME ...]

One burst per folder; an ``ev.txt`` in it (one EV a line, in the order of the names) states exposures that EXIF lacks.
A sheet shows the reference frame, ours, OpenCV's AlignMTB + Debevec and AlignMTB + Mertens, and our uncertainty: the
whole view, then three crops at 100 % (see ``interest_maps``). One tone mapping, planned on ours, renders ours and
Debevec's result; Mertens' is a display image already.

Writes a PNG and its figures as JSON to ``--out`` for each burst (``--names``: only for these), and, once every burst
has its sheet, the section "contact" of RESULTS.md: the figures, and the comments of contact_sheets.toml, written by
hand after inspection.
"""

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.lib.methods import curve_from_truth, mertens
from benchmarks.lib.results_file import RESULTS, write_json, write_section
from benchmarks.lib.static_stacks import subsample
from smarthdr_cli.burst.burst import Burst
from smarthdr_cli.colorspace import REC709, convert_rgb
from smarthdr_cli.evaluate import figures, protocol
from smarthdr_cli.evaluate.comparison import error_map
from smarthdr_cli.evaluate.methods import align_mtb, debevec, linearize_reference, to_8_bits
from smarthdr_cli.evaluate.tables import markdown_table, measurement_conditions
from smarthdr_cli.fusion.fuse_options import FuseOptions
from smarthdr_cli.fusion.pipeline import StageTimer, fuse_loaded, load
from smarthdr_cli.fusion.result import FusionResult
from smarthdr_cli.models.weights import read_manifest, weights_dir
from smarthdr_cli.output import tonemap
from smarthdr_cli.output.heatmap import MAX_SIGMA, MIN_SIGMA, colour_index, colour_table
from smarthdr_cli.output.preview import render_srgb

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Crop = tuple[slice, slice]

ROOT = Path(__file__).parents[2]
COMMENTS = Path(__file__).with_suffix(".toml")
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
WIDTH_PX = 396  # of a column, and a crop's side: five columns make 2000
CELL_PX = 4  # crops are chosen on maps reduced by this factor, which suppresses noise and misalignment
INTEREST_QUANTILE = 0.95  # of a map, from which a cell counts
WELL_EXPOSED = (0.05, 0.8)  # linear share of the reference's clip
MAX_PIXELS = 4_000_000  # of a frame; larger ones are cropped to their middle
MARK_COLOUR = (255, 210, 0)


class Sheet(NamedTuple):
    """The rows of a sheet, and the row of its burst in the table of figures."""

    rows: list[U8]
    table_row: list[Any]


def burst_folders(root: Path) -> list[Path]:
    """The folders of ``root`` with at least two images."""
    return [folder for folder in sorted(root.iterdir()) if folder.is_dir() and len(image_files(folder)) > 1]


def image_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def crop_middle(burst: Burst, max_pixels: int) -> Burst:
    """The middle of every frame, at most ``max_pixels`` of the same aspect ratio; smaller bursts unchanged."""
    height, width = burst.size
    scale = (max_pixels / (height * width)) ** 0.5
    if scale >= 1:
        return burst
    h, w = int(height * scale), int(width * scale)
    rows, columns = slice((height - h) // 2, (height + h) // 2), slice((width - w) // 2, (width + w) // 2)

    def crop(array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(array[rows, columns])

    frames = [
        replace(frame, codes=crop(frame.codes), clipped=None if frame.clipped is None else crop(frame.clipped))
        for frame in burst.frames
    ]
    return replace(burst, frames=tuple(frames))


def fuse_folder(folder: Path, max_pixels: int) -> FusionResult:
    """``fuse`` on a burst with default options."""
    ev_file = folder / "ev.txt"
    evs = [float(line) for line in ev_file.read_text("utf-8").split()] if ev_file.exists() else None
    options, timer = FuseOptions(ev=evs), StageTimer()
    burst = crop_middle(load(image_files(folder), options, timer).burst, max_pixels)
    return fuse_loaded(burst, options, timer)


def merge_debevec(ours: FusionResult, frames: Sequence[NDArray[Any]]) -> F32:
    """Calibrated Debevec of ``frames``, scaled to ``ours`` where the reference is well exposed."""
    evs = ours.burst.evs
    light = debevec(frames, np.exp2(evs - evs[0]).tolist())
    light = np.nan_to_num(convert_rgb(light, ours.burst.frames[0].colorspace, REC709), posinf=0.0)
    pixels = protocol.fit_pixels(ours.radiance, 1.0, None)
    return np.asarray(light * np.float32(protocol.fit_scale(light, ours.radiance, pixels)), np.float32)


def cell_means(values: F32) -> F32:
    """(H, W) to the means of whole squares of CELL_PX."""
    height, width = (side // CELL_PX for side in values.shape)
    cropped = np.ascontiguousarray(values[: height * CELL_PX, : width * CELL_PX])
    return np.asarray(cv2.resize(cropped, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def choose_crops(maps: Sequence[F32], size: int) -> list[Crop]:
    """For each map (H, W), reduced by CELL_PX, the square of ``size`` full pixels with most of its upper values.

    Later crops leave out the cells of earlier ones.
    """
    free = np.ones(maps[0].shape, np.bool_)
    crops: list[Crop] = []
    for interest in maps:
        remaining = interest[free]
        selected = free
        if remaining.size:
            selected = free & (interest > 0) & (interest >= np.quantile(remaining, INTEREST_QUANTILE))
        rows, columns = figures.densest_square(selected, size // CELL_PX)
        free[rows, columns] = False
        crops.append(
            (
                slice(rows.start * CELL_PX, rows.stop * CELL_PX),
                slice(columns.start * CELL_PX, columns.stop * CELL_PX),
            )
        )
    return crops


def interest_maps(ours: FusionResult, debevec_merge: F32) -> list[F32]:
    """Three maps, mu-law domain, reduced by CELL_PX.

    Ours against the reference frame alone where that is well exposed (ghosts, smears, colour casts); ours against
    Debevec; sigma where not every frame is clipped.
    """
    short = np.float32(ours.scale_short)
    light = np.clip(ours.radiance, 0, None)
    codes = to_8_bits(ours.burst.frames[ours.burst.reference].codes)
    # The reference is linearised by the curve that fits ours best, so that a difference of curves does not count.
    few_codes, few_light = subsample(codes), subsample(light)
    curve = curve_from_truth(few_codes, few_light, np.ones(few_codes.shape[:2], bool))
    reference = linearize_reference(codes, 1.0, curve)
    well_exposed = ((reference > WELL_EXPOSED[0]) & (reference < WELL_EXPOSED[1])).all(axis=2)
    from_reference = np.where(well_exposed, error_map(light * short, reference * short), 0)
    from_debevec = error_map(light * short, np.clip(debevec_merge, 0, None) * short)
    sigma = np.where(ours.uncertainty < 1, ours.uncertainty, 0)
    return [cell_means(np.asarray(values, np.float32)) for values in (from_reference, from_debevec, sigma)]


def make_sheet(folder: Path, max_pixels: int) -> Sheet:
    """Fuse a burst by every method and draw the sheet."""
    ours = fuse_folder(folder, max_pixels)
    reference = ours.burst.frames[ours.burst.reference]
    frames = align_mtb([to_8_bits(f.codes) for f in ours.burst.frames], ours.burst.reference)
    debevec_merge = merge_debevec(ours, frames)
    crops = choose_crops(interest_maps(ours, debevec_merge), WIDTH_PX)
    tone = tonemap.fit_tone_map(ours.radiance, ours.colorspace, ours.anchor_ev)
    columns = {
        f"reference, {reference.path.name}": to_8_bits(reference.codes),
        "ours": np.asarray(render_srgb(ours, 8, tone), np.uint8),
        "AlignMTB + Debevec": np.asarray(render_srgb(replace(ours, radiance=debevec_merge), 8, tone), np.uint8),
    }
    del debevec_merge
    columns["AlignMTB + Mertens"] = np.round(mertens(frames) * 255).astype(np.uint8)
    columns[f"sigma, log, {MIN_SIGMA:g} to {MAX_SIGMA:g}"] = colour_table()[colour_index(ours.uncertainty)]
    rows = [figures.labelled_row([(name, shrink(mark_crops(image, crops))) for name, image in columns.items()])]
    reasons = ("ours : reference", "ours : Debevec", "sigma")
    for number, (reason, crop) in enumerate(zip(reasons, crops, strict=True), start=1):
        title = f"{number}: {reason}, {crop[1].start},{crop[0].start}"
        labels = [title, *[""] * (len(columns) - 1)]
        cells = [(label, image[crop]) for label, image in zip(labels, columns.values(), strict=True)]
        rows.append(figures.labelled_row(cells))
    return Sheet(rows, table_row(ours))


def mark_crops(image: U8, crops: Sequence[Crop]) -> U8:
    """A copy of ``image`` with the numbered outlines of the crops."""
    marked = image.copy()
    thickness = max(1, round(marked.shape[1] / WIDTH_PX))
    for number, (rows, columns) in enumerate(crops, start=1):
        corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
        cv2.rectangle(marked, *corners, MARK_COLOUR, 2 * thickness)
        position = (columns.start + 6 * thickness, rows.start + 22 * thickness)
        cv2.putText(
            marked, str(number), position, cv2.FONT_HERSHEY_SIMPLEX, 0.7 * thickness, MARK_COLOUR, 2 * thickness
        )
    return marked


def shrink(image: U8) -> U8:
    """``image`` at the width of a column."""
    height = round(image.shape[0] * WIDTH_PX / image.shape[1])
    return np.asarray(cv2.resize(image, (WIDTH_PX, height), interpolation=cv2.INTER_AREA), np.uint8)


def table_row(ours: FusionResult) -> list[Any]:
    """Frames, EV range, size, mean sigma, share clipped in every frame, share that differs from the static merge."""
    evs, (height, width) = ours.burst.evs, ours.burst.size
    clipped = float((ours.uncertainty >= 1).mean())
    changed = ours.report.statistics.difference.changed
    return [len(evs), f"{evs[0]:+.1f} to {evs[-1]:+.1f}", f"{width}x{height}", f"{ours.mean_uncertainty:.4f}",
            f"{clipped:.1%}", f"{changed:.1%}"]  # fmt: skip


def read_comments(path: Path) -> dict[str, Any]:
    """``weights`` (their SHA-256), ``date``, ``summary``, and a table per burst with ``ours`` and ``rivals``."""
    return tomllib.loads(path.read_text("utf-8")) if path.exists() else {"weights": "", "date": ""}


def section(table_rows: dict[str, list[Any]], comments: dict[str, Any], weights: str) -> str:
    """Markdown: a table of figures, a table of comments, and whether the comments are about ``weights``."""
    current = comments["weights"] == weights
    subject = "these weights" if current else "other weights than these, so they may be out of date"
    header = ["burst", "frames", "EV", "size", "mean σ", "clipped in every frame", "changed by the network"]
    of_burst = {name: comments.get(name, {}) for name in table_rows}
    comment_rows = [[name, c.get("ours", "not looked at"), c.get("rivals", "")] for name, c in of_burst.items()]
    return "\n\n".join(
        [
            "## Real bursts, looked at",
            measurement_conditions(),
            "Real bursts without a ground truth, as `fuse` takes them with its defaults; of large "
            "frames the middle, at full size. A sheet each: the reference frame, ours, AlignMTB + "
            "calibrated Debevec and AlignMTB + Mertens (OpenCV), our uncertainty, the whole view and three crops at "
            "100 %, chosen by the script where ours departs most from the reference frame, where it departs most from "
            "Debevec's, and where its own sigma is highest. The photographs have no free licence, so no sheet is kept "
            "here; `benchmarks/release/contact_sheets.py` makes them. The words were written by eye on "
            f"{comments['date']}, about {subject} (sha256 `{comments['weights'][:16]}`).",
            comments.get("summary", ""),
            markdown_table(header, [[name, *row] for name, row in table_rows.items()]),
            markdown_table(["burst", "wrong in ours", "the rivals"], comment_rows).replace(
                "| :-- | --: | --: |", "| :-- | :-- | :-- |"
            ),
        ]
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="contact sheets of real bursts")
    parser.add_argument("--bursts", type=Path, required=True, help="folder of bursts, one folder each")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets, outside the repository")
    parser.add_argument("--names", nargs="*", help="make only these sheets, and keep the others in --out")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="larger frames are cropped to their middle")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.out.resolve().is_relative_to(ROOT):
        parser.error("--out lies in the repository; the photographs may have no free licence")
    return options


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    folders = burst_folders(options.bursts)
    for folder in folders:
        if options.names is None or folder.name in options.names:
            sheet = make_sheet(folder, options.max_pixels)
            figures.save_png(options.out / f"{folder.name}.png", sheet.rows)
            write_json(options.out / f"{folder.name}.json", {"figures": sheet.table_row})
            print(folder.name, *sheet.table_row, file=sys.stderr, flush=True)
    files = {folder.name: options.out / f"{folder.name}.json" for folder in folders}
    table_rows = {name: json.loads(path.read_text("utf-8"))["figures"] for name, path in files.items() if path.exists()}
    weights = next(entry for entry in read_manifest(weights_dir()) if entry.default)
    text = section(table_rows, read_comments(COMMENTS), weights.sha256)
    print(text)
    if len(table_rows) == len(folders):
        write_section(options.results, "contact", text)


if __name__ == "__main__":
    main()
