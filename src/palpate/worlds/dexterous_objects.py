"""What the dexterous hand grasps: household shapes in any number, of random size and material, and convex parts of meshes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from palpate.core.errors import RecordError
from palpate.core.randomness import generator
from palpate.worlds.household import GraspObject, Part, any_colour
from palpate.worlds.household_sets import FAMILY

YOUNG = (1e5, 1e7)
"""Log-uniform [Pa]: soft silicone to hard rubber. Softer things would touch as widely as the fingertip, where half-space theory ends."""
POISSON = (0.20, 0.49)
"""Uniform."""
FRICTION = (0.35, 1.0)
"""Uniform: polished plastic to rubber, on a rubber fingertip; an estimate."""
MASS = (0.02, 0.35)
"""[kg], log-uniform: light things are more frequent."""
HARD_SHARE = 0.5
"""Share of the objects that do not give way at all."""
BALLAST_SHARE = 0.35
"""Share of the objects with a centre of mass off the middle."""


@dataclass(frozen=True, kw_only=True)
class DexterousObject(GraspObject):
    """A thing to grasp whose material has both elastic constants."""

    poisson: float = 0.45
    """Poisson's ratio; means nothing if `young` is None."""


def dexterous_objects(n: int, seed: int = 0) -> tuple[DexterousObject, ...]:
    """Return `n` objects, all different, kinds mixed; number i is the same for ever for a seed, whatever `n`."""
    kinds = [(kind, maker) for kind, (maker, count) in FAMILY.items() for _ in range(count)]
    out = []
    for number in range(n):
        rng = generator(seed, 2_000_117, number)
        kind, maker = kinds[int(rng.integers(len(kinds)))]
        out.append(_matter(rng, f"{kind}-d{seed}-{number:03d}", maker(rng)))
    return tuple(out)


def _matter(rng: np.random.Generator, name: str, parts: tuple[Part, ...]) -> DexterousObject:
    """Draw what is independent of the shape."""
    hard, heavy = rng.random() < HARD_SHARE, rng.random() < BALLAST_SHARE
    young, mass = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in (YOUNG, MASS))
    off = rng.uniform(-0.010, 0.010, 3) if heavy else np.zeros(3)
    x, y, z = off.round(5).tolist()
    return DexterousObject(
        name=name,
        parts=parts,
        mass=mass,
        friction=float(rng.uniform(*FRICTION)),
        young=None if hard else young,
        poisson=float(rng.uniform(*POISSON)),
        ballast=(x, y, z),
        colour=any_colour(rng),
        second_colour=any_colour(rng),
    )


def mesh_object(name: str, parts: Sequence[np.ndarray], *, mass: float, friction: float) -> DexterousObject:
    """Return an object of convex parts, each the hull of corners (N, 3) [m] in the object's frame; it is hard.

    Raises:
        RecordError: No parts, or a part with fewer than four corners; says which.
    """
    if not parts:
        raise RecordError(f"object {name!r} has no parts; give at least one convex part")
    solids = []
    for number, corners in enumerate(parts):
        if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 4:
            raise RecordError(f"object {name!r}: part {number} is {corners.shape}; a solid needs (4 or more, 3) corners")
        middle = corners.mean(axis=0)
        around = tuple((float(x), float(y), float(z)) for x, y, z in corners - middle)
        x, y, z = middle.tolist()
        solids.append(Part(kind="polytope", vertices=around, at=(x, y, z)))
    return DexterousObject(name=name, parts=tuple(solids), mass=mass, friction=friction)
