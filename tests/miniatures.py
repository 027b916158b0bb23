"""Public touch data sets in miniature: the folders, names and tables of their authors, with pictures made here.

A builder writes a set below a folder and returns what it wrote by unit, stream and number. Touch is a lit gel that is pressed, the camera a
hand-held view of edges. Sizes are small; names, zero-padding and tables are as in the published code.
"""

import csv
import json
from pathlib import Path

import cv2
import numpy as np

from press_fakes import press

TOUCH = (36, 48)
CAMERA = (40, 60)
Written = dict[tuple[str, str], dict[int, np.ndarray]]


def touch_pictures(seed, n):
    """(n, 36, 48, 3) uint8: a gel that is pressed in the second half."""
    return press(seed, n, on=n // 2, off=2 * n, ramp=2, rows=TOUCH[0], cols=TOUCH[1], noise=0.5)


def camera_pictures(seed, n):
    """(n, 40, 60, 3) uint8: a scene of boxes seen by a camera that moves."""
    rng = np.random.default_rng(1000 + seed)
    grey = np.kron(rng.integers(0, 226, (16, 24, 1)), np.ones((8, 8, 1)))
    scene = (grey + [0, 15, 30]).astype(np.uint8)
    rows, cols = CAMERA
    starts = rng.integers(0, (scene.shape[0] - rows, scene.shape[1] - cols), (n, 2))
    return np.stack([scene[y : y + rows, x : x + cols] for y, x in starts])


def write_picture(path, image):
    """Write (H, W, 3) RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 98] if path.suffix == ".jpg" else []
    data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
    path.write_bytes(data.tobytes())


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_all(written, folder, unit, stream, images, name, first=0):
    """Write pictures under `name.format(number)` and note them."""
    own = written.setdefault((unit, stream), {})
    for number, image in enumerate(images, first):
        write_picture(folder / name.format(number), image)
        own[number] = image


def tacquad(root: Path) -> Written:
    written: Written = {}
    for place, items in (("indoor", ("cup_1", "orange")), ("outdoor", ("bark",))):
        rows = []
        for k, item in enumerate(items):
            ends = [item]
            for j, (folder, sensor) in enumerate({"gelsight": "gelsight-mini", "digit": "digit", "duragel": "duragel"}.items()):
                at, unit, n = root / f"data_{place}" / item, f"data_{place}/{item}", 6 + j
                write_all(written, at / folder, unit, f"touch.{sensor}", touch_pictures(10 * k + j, n), "{}.png")
                write_all(
                    written, at / f"img_{folder}", unit, f"camera.rgb.{sensor}", camera_pictures(10 * k + j, n // 2), "{}.png"
                )
                ends += [3, n - 1]
            rows.append(ends)
        write_table(root / f"contact_{place}.csv", rows)
    return written


def tag(root: Path) -> Written:
    written: Written = {}
    rows: dict[str, list] = {"train": [], "test": []}
    rough: dict[str, list] = {"train": [], "test": []}
    for k, folder in enumerate(("20220410_031604", "20220607_133934")):
        at = root / "dataset" / folder
        write_all(written, at / "gelsight_frame", folder, "touch.gelsight", touch_pictures(k, 8), "{:010d}.jpg")
        write_all(written, at / "video_frame", folder, "camera.rgb", camera_pictures(k, 8), "{:010d}.jpg")
        split = ("train", "test")[k]
        for number, material, roughness in ((2, 3, 1), (3, 3, 1), (6, 7, 0), (7, -1, -1)):
            rows[split].append([f"{folder}/{number:010d}.jpg", material])
            rough[split].append([f"{folder}/{number:010d}.jpg", roughness])
    for split in ("train", "test"):
        write_table(root / f"{split}.txt", rows[split])
        write_table(root / f"{split}_rough.txt", rough[split])
    return written


def visgel(root: Path) -> Written:
    written: Written = {}
    for k, unit in enumerate(("seen/rec_00001", "unseen/rec_00031")):
        write_all(written, root / "images/touch" / unit, unit, "touch.gelsight", touch_pictures(k, 6), "frame{:04d}.jpg")
        write_all(written, root / "images/vision" / unit, unit, "camera.rgb", camera_pictures(k, 6), "frame{:04d}.jpg")
    write_table(root / "images/contact_visgel.csv", [[f"{unit}/frame{n:04d}.jpg"] for unit, _ in written for n in (4, 5)])
    return written


def cloth(root: Path) -> Written:
    written: Written = {}
    for k, unit in enumerate(("1/Cloth_a", "2/Cloth_b")):
        at = root / "Data_ICRA18/Data" / unit / "gelsight_frame"
        write_all(written, at, unit, "touch.gelsight", touch_pictures(k, 5), "{:04d}.png")
    write_table(
        root / "Data_ICRA18/contact_yuan.csv", [["1/Cloth_a/gelsight_frame/0003.png"], ["2/Cloth_b/gelsight_frame/0004.png"]]
    )
    return written


def objectfolder_real(root: Path) -> Written:
    written: Written = {}
    for k, unit in enumerate(("12/tactile_data/0/0", "97/tactile_data/1/0")):
        write_all(written, root / "real/tactile" / unit / "gelsight", unit, "touch.gelslim", touch_pictures(k, 5), "{}.png")
    write_table(root / "real/contact_obj.csv", [[f"{unit}/gelsight/{n}.png"] for unit, _ in written for n in (3, 4)])
    return written


def _objectfolder(root: Path, folder: Path, units, stream) -> Written:
    written: Written = {}
    for k, unit in enumerate(units):
        write_all(written, folder / unit, unit, stream, touch_pictures(k, 3), "{}.png")
    root.mkdir(parents=True, exist_ok=True)
    (root / "label.json").write_text(json.dumps({"7": 2, "9": 6, "101": 0, "230": 4}))
    splits = {"train": [["7", 0], ["9", 0], ["9", 1], ["101", 0], ["101", 1], ["230", 0]], "test": [["7", 2], ["101", 2]]}
    (root / "split.json").write_text(json.dumps(splits))
    return written


def objectfolder1(root: Path) -> Written:
    return _objectfolder(root, root, ("7", "9"), "touch.tacto")


def objectfolder2(root: Path) -> Written:
    return _objectfolder(root, root / "touch", ("101", "230"), "touch.taxim")


def tvl(root: Path) -> Written:
    written: Written = {}
    for part, run in (("data1", "0-1702507215.615537"), ("data3", "4-1702601001.120000")):
        unit, seed = f"{part}/{run}", len(part + run)
        write_all(written, root / unit / "tactile", unit, "touch.digit", touch_pictures(seed, 6), "{}-0.0226225852.jpg")
        write_all(written, root / unit / "vision", unit, "camera.rgb", camera_pictures(seed, 6), "{}-0.0226225852.jpg")
        names = [f"{run}/{{}}/{n}-0.0226225852.jpg" for n in (4, 5)]
        lists = {"tactile": [n.format("tactile") for n in names], "vision": [n.format("vision") for n in names]}
        (root / part / "contact.json").write_text(json.dumps(lists))
        rows = [
            [n.format("vision"), n.format("tactile"), f"{run}/tactile/0-0.0226225852.jpg", "smooth, hard, cool"] for n in names
        ]
        split = "train" if part == "data1" else "test"
        write_table(root / part / f"{split}.csv", [["url", "tactile", "tactile_background", "caption"], *rows])
    return written


def ssvtp(root: Path) -> Written:
    written: Written = {}
    write_all(written, root / "images_tac", "all", "touch.digit", touch_pictures(0, 5), "image_{}_tac.jpg")
    write_all(written, root / "images_rgb", "all", "camera.rgb", camera_pictures(0, 5), "image_{}_rgb.jpg")
    write_table(root / "train.csv", [["images_rgb/image_0_rgb.jpg"], ["images_rgb/image_1_rgb.jpg"]])
    write_table(root / "test.csv", [["images_rgb/image_2_rgb.jpg"]])
    (root / "text").mkdir()
    (root / "text/labels_0.txt").write_text("fabric, soft, woven\n")
    return written


def ycb_slide(root: Path) -> Written:
    written: Written = {}
    for k, unit in enumerate(("004_sugar_box/dataset_0", "035_power_drill/dataset_4")):
        write_all(written, root / "real" / unit / "frames", unit, "touch.digit", touch_pictures(k, 5), "frame_{:07d}.jpg")
    return written


def feel(root: Path) -> Written:
    written: Written = {}
    rows = []
    for k, name in enumerate(("coffee_mug", "4_in_rhino_toy")):
        for trial in range(2):
            sides = {
                "touch.gelsight.a": ("touch", "_A", touch_pictures(k, 3)),
                "touch.gelsight.b": ("touch", "_B", touch_pictures(9 + k, 3)),
                "camera.rgb": ("vision", "", camera_pictures(k, 3)),
            }
            for stream, (side, mark, images) in sides.items():
                for i, phase in enumerate(("before", "during", "after")):
                    write_picture(root / name / f"{side}_{phase}" / f"{trial}{mark}.png", images[i])
                    written.setdefault((name, stream), {})[3 * trial + i] = images[i]
            rows.append([name, trial, trial])
    write_table(root / "feel.csv", rows)
    np.save(root / "split_3.npy", np.array({"train": ["coffee_mug"], "test": ["4_in_rhino_toy"]}, dtype=object))
    return written


MINIATURES = {
    "tacquad": tacquad,
    "tag": tag,
    "visgel": visgel,
    "cloth": cloth,
    "objectfolder-real": objectfolder_real,
    "objectfolder1": objectfolder1,
    "objectfolder2": objectfolder2,
    "tvl": tvl,
    "ssvtp": ssvtp,
    "ycb-slide": ycb_slide,
    "feel": feel,
}
