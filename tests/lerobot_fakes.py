"""Made-up LeRobot data sets of v2.1 and v3.0, written with pyarrow, json and OpenCV only."""

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from palpate.data import codecs

FPS = 30
LENGTHS = (8, 5, 11)
CAM = "observation.images.cam"
V2 = {
    "codebase_version": "v2.1",
    "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
}
V3 = {
    "codebase_version": "v3.0",
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


def feature(dtype, *shape, names=None, **more):
    return {"dtype": dtype, "shape": list(shape), "names": names, **more}


FEATURES = {
    "observation.state": feature("float32", 3, names=[["a", "b", "c"]]),
    "action": feature("float32", 2, names={"motors": ["left.pos", "right.pos"]}),
    "observation.tactile.index": feature("float32", 4, 2),
    "observation.count": feature("int64", 1),
    "observation.images.wrist": feature("image", 16, 16, 3),
    "observation.images.tactile_thumb": feature("image", 16, 16, 3),
    "observation.note": feature("string", 1),
    CAM: feature("video", 32, 32, 3, info={"video.codec": "mpeg4"}),
    "observation.images.far": feature("video", 32, 32, 3, info={"is_depth_map": True}),
    "next.reward": feature("float32", 1),
    "next.done": feature("bool", 1),
    "next.success": feature("bool", 1),
    "timestamp": feature("float32", 1),
    "frame_index": feature("int64", 1),
    "episode_index": feature("int64", 1),
    "index": feature("int64", 1),
    "task_index": feature("int64", 1),
}


def rows(episode, n, start):
    """Columns of one episode, as LeRobot writes them."""
    rng = np.random.default_rng([1, episode])
    k = np.arange(n)

    def pictures():
        files = [codecs.png(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), deflate=True) for _ in k]
        return pa.array([{"bytes": file, "path": "x.png"} for file in files])

    def lists(values):
        return pa.array(values.tolist(), pa.list_(pa.float32(), values.shape[1]))

    return pa.table(
        {
            "observation.state": lists(rng.normal(size=(n, 3)).astype(np.float32)),
            "action": lists(rng.normal(size=(n, 2)).astype(np.float32)),
            "observation.tactile.index": pa.array(
                rng.normal(size=(n, 4, 2)).astype(np.float32).tolist(), pa.list_(pa.list_(pa.float32()))
            ),
            "observation.count": pa.array(rng.integers(0, 2**60, n)),
            "observation.images.wrist": pictures(),
            "observation.images.tactile_thumb": pictures(),
            "observation.note": pa.array(["x"] * n),
            "next.reward": pa.array(rng.normal(size=n).astype(np.float32)),
            "next.done": pa.array(k == n - 1),
            "next.success": pa.array((k == n - 1) & (episode != 1)),
            "timestamp": pa.array((k / FPS).astype(np.float32)),
            "frame_index": pa.array(k),
            "episode_index": pa.array(np.full(n, episode)),
            "index": pa.array(start + k),
            "task_index": pa.array(np.full(n, episode % 2)),
        }
    )


def video(path, first, n):
    """A video whose frame number t is as bright as 10 (first + t)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (32, 32))
    assert writer.isOpened()
    for t in range(first, first + n):
        writer.write(np.full((32, 32, 3), 10 * t, np.uint8))
    writer.release()


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def info(folder, layout, features=FEATURES):
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    content = {**layout, "fps": FPS, "chunks_size": 1000, "total_episodes": 99, "features": features}
    (folder / "meta/info.json").write_text(json.dumps(content))


def jsonl(path, values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def make_v2(folder):
    info(folder, V2)
    jsonl(folder / "meta/tasks.jsonl", [{"task_index": 0, "task": "pick"}, {"task_index": 1, "task": "place"}])
    jsonl(folder / "meta/episodes.jsonl", [{"episode_index": i, "tasks": [], "length": n} for i, n in enumerate(LENGTHS)])
    start = 0
    for i, n in enumerate(LENGTHS):
        write(folder / V2["data_path"].format(episode_chunk=0, episode_index=i), rows(i, n, start))
        video(folder / V2["video_path"].format(episode_chunk=0, episode_index=i, video_key=CAM), start, n)
        start += n
    return folder


def make_v3(folder):
    """Episodes 0 and 1 share a data file; all three share a video."""
    info(folder, V3)
    names = pa.table({"task_index": [0, 1], "__index_level_0__": ["pick", "place"]})
    write(folder / "meta/tasks.parquet", names)
    starts = np.append(0, np.cumsum(LENGTHS))
    tables = [rows(i, n, starts[i]) for i, n in enumerate(LENGTHS)]
    write(folder / V3["data_path"].format(chunk_index=0, file_index=0), pa.concat_tables(tables[:2]))
    write(folder / V3["data_path"].format(chunk_index=0, file_index=1), tables[2])
    video(folder / V3["video_path"].format(chunk_index=0, file_index=0, video_key=CAM), 0, sum(LENGTHS))
    places = [
        {
            "episode_index": i, "length": n, "data/chunk_index": 0, "data/file_index": int(i == 2),
            f"videos/{CAM}/chunk_index": 0, f"videos/{CAM}/file_index": 0,
            f"videos/{CAM}/from_timestamp": starts[i] / FPS, f"videos/{CAM}/to_timestamp": starts[i + 1] / FPS,
            "stats/action/mean": [0.0, 0.0],
        }
        for i, n in enumerate(LENGTHS)
    ]  # fmt: skip
    write(folder / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(places))
    return folder
