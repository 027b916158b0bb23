"""What a thing feels like, in words: three or four sentences from its true material, texture, roughness and hardness.

Ground truth annotation, as the paper's sentences are (there a language model and people write them; AnyTouch, Section A.7): varied
wording and order, at most 60 words counting punctuation, and never a word like `moderate` that could mean anything.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from palpate.core.units import MM
from palpate.sensors.touch.materials import Material
from palpate.sensors.touch.shapes import Shape, Thing

LONGEST = 60
"""Most words of a description, counting punctuation as words (the paper's prompt)."""

Words = tuple[str, ...]

_HARDNESS: tuple[tuple[float, Words, Words], ...] = (
    (
        0.15e6,
        ("very soft", "squishy", "yielding"),
        ("sinks in under the lightest touch", "collapses easily and follows the finger"),
    ),
    (0.8e6, ("soft", "pliable", "compliant"), ("gives way under light pressure", "dents readily when pushed")),
    (4e6, ("springy", "rubbery", "slightly yielding"), ("yields a little and springs back", "gives only under a strong push")),
    (40e6, ("firm", "dense", "sturdy"), ("barely gives", "resists the finger with little give")),
    (np.inf, ("hard", "rigid", "solid"), ("does not give at all", "keeps its form under any push")),
)
"""Young's modulus [Pa] up to which these adjectives and these sayings hold."""

_ROUGHNESS: tuple[tuple[float, Words, Words], ...] = (
    (1.5e-6, ("smooth", "polished", "sleek"), ("no grain can be felt", "it feels slick and even")),
    (7e-6, ("nearly smooth", "satiny", "finely finished"), ("only a faint grain can be felt", "it feels almost even")),
    (20e-6, ("slightly rough", "grainy", "matte"), ("a light grain can be felt", "it drags slightly, like fine paper")),
    (42e-6, ("rough", "uneven", "coarse-grained"), ("roughness is clearly felt", "bumps and hollows catch the finger")),
    (np.inf, ("very rough", "gritty", "abrasive"), ("sharp grains are strongly felt", "many small peaks scratch the finger")),
)
"""Root mean square of the surface's heights [m] up to which these hold."""

_MATERIALS: Mapping[str, tuple[Words, Words]] = MappingProxyType(
    {
        "steel": (("metal", "steel"), ("cold", "chilly")),
        "glass": (("glass", "glazed glass"), ("cool", "glassy")),
        "plastic": (("plastic", "moulded plastic"), ("dry", "lukewarm")),
        "wood": (("wood", "timber"), ("warm", "dry")),
        "stone": (("stone", "rock"), ("cold", "mineral")),
        "sandpaper": (("sandpaper", "abrasive paper"), ("dry", "scratchy")),
        "cork": (("cork", "pressed cork"), ("warm", "light")),
        "leather": (("leather", "hide"), ("warm", "supple")),
        "rubber": (("rubber", "vulcanised rubber"), ("grippy", "dull")),
        "silicone": (("silicone", "silicone rubber"), ("tacky", "clinging")),
        "gel": (("gel", "jelly-like gel"), ("sticky", "moist-feeling")),
        "apple": (("apple skin", "fruit peel"), ("waxy", "fresh")),
        "tomato": (("tomato skin", "thin fruit skin"), ("juicy", "taut")),
        "bread": (("bread", "bread crumb"), ("crumbly", "dry")),
        "foam": (("foam", "open-pored foam"), ("airy", "light")),
        "cloth": (("cloth", "fabric"), ("textile", "warm")),
        "paper": (("paper", "cardboard"), ("dry", "papery")),
    }
)
"""Nouns, and how it feels beside hardness and roughness."""

_TEXTURES: Mapping[str, Words] = MappingProxyType(
    {
        "sphere": ("a {size} rounded dome", "a {size} ball-like curve"),
        "ellipsoid": ("a {size} elongated bulge", "a {size} egg-shaped curve"),
        "cylinder": ("a {size} lying rod", "a {size} bar, curved one way and straight the other"),
        "flat": ("a {size} flat disc with a crisp rim", "a {size} level round face"),
        "block": ("a {size} flat square with straight borders", "a {size} level square face with corners"),
        "edge": ("one straight edge", "a single long ridge line"),
        "corner": ("a pointed corner of three faces", "a corner where three planes meet"),
        "cone": ("a single pointed tip", "a conical spike"),
        "pyramid": ("a four-sided pointed tip", "a pyramid peak with four faces"),
        "ring": ("a {size} raised ring", "a {size} circular loop of wire"),
        "dots": ("{fine} round bumps in rows", "a lattice of {fine} raised dots"),
        "grid": ("{fine} crossing ribs", "a mesh of {fine} raised lines"),
        "knurl": ("{fine} diamond knurling", "a {fine} criss-cross of pointed diamonds"),
        "waves": ("{fine} parallel ridges", "regular {fine} ripples"),
        "thread": ("{fine} screw threads around a rod", "a rod with {fine} slanted grooves"),
        "coin": ("a raised rim, beads and a star", "embossed relief like a coin's face"),
        "key": ("a notched key blade with a groove", "a key's teeth and slot"),
        "letter": ("one raised character", "an embossed letter with clean outlines"),
        "nut": ("a {size} hexagonal outline with a round hole", "a {size} six-sided ring"),
        "gear": ("{size} gear teeth around a flat disc", "a {size} toothed wheel"),
        "star": ("a {size} flat star with pointed arms", "a {size} star-shaped outline"),
        "screw": ("a domed screw head with a cross slot", "a round head with crossing slots"),
        "weave": ("{fine} woven threads", "a {fine} over-and-under weave"),
        "rough": ("irregular hills and pits", "random bumps without any pattern"),
    }
)
"""What is felt of each family of shapes."""

_FINE = (("pitch", 1.1 * MM, 2.0 * MM), ("fine", "closely spaced"), ("clear", "evenly spaced"), ("broad", "widely spaced"))
_SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"radius": (3 * MM, 5 * MM), "side": (4.2 * MM, 6 * MM), "width": (7 * MM, 10 * MM)}
)
"""Lengths below the first are small, above the second large; between them nothing is said."""


def describe_touch(thing: Thing, rng: np.random.Generator) -> str:
    """Return three or four sentences on how a thing feels where it is touched.

    Args:
        thing: what is touched, its pose over the pad.
        rng: chooses words and order only; what is said depends on the thing.
    """
    _, hard, gives = _level(_HARDNESS, np.inf if thing.material.young is None else thing.material.young)
    _, rough, grain = _level(_ROUGHNESS, surface_roughness(thing))
    nouns, feels = _nouns(thing.material)
    noun, texture = _pick(nouns, rng), _texture(thing.shape, rng)
    a, b, c = (_pick(words, rng) for words in (hard, rough, feels))
    adjectives = ", ".join(np.array([a, b, c])[rng.permutation(3)].tolist())
    openings = (
        f"{adjectives} {noun} with {texture}.",
        f"The sensor touches {_article(adjectives)} {noun} piece with {texture}.",
        f"{texture} of {adjectives} {noun}.",
    )
    rest = [
        _pick(
            (f"Pressed, it {_pick(gives, rng)}.", f"The {noun} {_pick(gives, rng)}.", f"It feels {a} and {_pick(gives, rng)}."),
            rng,
        ),
        _pick((f"{_pick(grain, rng)}.", f"Stroked, {_pick(grain, rng)}.", f"The surface is {b}; {_pick(grain, rng)}."), rng),
        _pick((f"{_place(thing)}, {_slide(thing.material)}.", f"{_slide(thing.material)}.", f"{_place(thing)}."), rng),
    ]
    order = [*rng.permutation(2), 2] if rng.random() < 0.7 else rng.permutation(3)
    sentences = [_pick(openings, rng), *(rest[i] for i in order)]
    while count_words(" ".join(sentences)) > LONGEST:
        sentences.pop()
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def count_words(text: str) -> int:
    """Return the number of words, counting punctuation marks as words."""
    return len(re.findall(r"\w+(?:[-']\w+)*|[^\w\s]", text))


def sentences_of(text: str) -> list[str]:
    """Split a text into its sentences."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def surface_roughness(thing: Thing) -> float:
    """Return the root mean square of a thing's irregular heights [m]: of its material and, for a rough plane, of its shape."""
    own = thing.shape.numbers.get("rms", 0.0)
    return float(np.hypot(thing.material.roughness, own))


def _level(table: Sequence[tuple[float, Words, Words]], value: float) -> tuple[float, Words, Words]:
    return next(row for row in table if value <= row[0])


def _nouns(material: Material) -> tuple[Words, Words]:
    return _MATERIALS.get(material.name, ((material.name,), ("plain",)))


def _texture(shape: Shape, rng: np.random.Generator) -> str:
    (name, fine, broad), small_words, middle, broad_words = _FINE
    numbers = shape.numbers
    pitch = numbers.get(name, fine)
    spaced = small_words if pitch < fine else broad_words if pitch > broad else middle
    size = ""
    for key, (small, large) in _SIZES.items():
        if key in numbers:
            size = "small" if numbers[key] < small else "large" if numbers[key] > large else ""
    said = _pick(_TEXTURES.get(shape.name, (shape.name,)), rng).format(fine=_pick(spaced, rng), size=size)
    return _article(re.sub(r"^an? ", "", said)) if said.startswith(("a ", "an ")) else " ".join(said.split())


def _article(words: str) -> str:
    words = " ".join(words.split())
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _place(thing: Thing) -> str:
    away = float(np.hypot(thing.pose.x, thing.pose.y))
    return (
        "Touched in the middle"
        if away < 0.8 * MM
        else "Touched off its middle"
        if away > 1.8 * MM
        else "Touched beside its middle"
    )


def _slide(material: Material) -> str:
    if material.friction >= 0.85:
        return "it grips and hardly slides"
    return "it slides easily" if material.friction <= 0.5 else "it slides with some drag"


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
