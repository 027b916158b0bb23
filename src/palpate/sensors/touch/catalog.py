"""Sensors that are known by name, as constants; each figure with its source, or with the reason for an estimate.

What is an estimate says so in `SensorModel.estimates`. Field of view and picture are in the gel frame: rows first.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from palpate.core.errors import UnknownNameError
from palpate.sensors.touch.contact import Pad
from palpate.sensors.touch.lambert import lambert
from palpate.sensors.touch.markers import MarkerGrid
from palpate.sensors.touch.model import SensorModel
from palpate.sensors.touch.noise import NoiseFigures
from palpate.sensors.touch.optics import Darkness, Lamps, Optics, load_optics
from palpate.sensors.touch.rest import RestLook
from palpate.sensors.touch.tip_mesh import BIOTAC_SP

_GENTLE = "Gentle Grasping (arXiv 2503.07926), Section III: 240 x 320 pictures at 60 Hz over 16 x 19 mm"
_TAXIM = "taxim 1.4.1 (MIT), calib/gelsight/params.json: 640 x 480 pixels of 0.0295 mm"
_TAXIM_MINI = (
    "taxim 1.4.1 (MIT), calib/gelsight_mini/params.json: 640 x 480 pixels of 0.0295 mm; here at half of that resolution"
)
_TACEX_MINI = "TacEx (github.com/DH-Ng/TacEx), gelsight_mini_cfg.py"
_9DTACT = "9DTact (github.com/linchangyi1/9DTact, MIT), shape_reconstruction/shape_config.yaml"
_TAC3D = "Tac3D_ros (github.com/NathanWu7/Tac3D_ros), message Frame: 400 points with displacement and force each"
_BTS3 = "BioTacSP Stability Set v2 (BTS3): 24 electrodes a finger"
_MINI_NOISE = "tactile-mnist 0.13 (MIT), sensor_noise: found on real 64 x 64 touches of a GelSight Mini"

_PRESSES = (
    "fitted on the ball presses of one sensor each in taxim 1.4.1 (MIT) by benchmarks/fit_touch_optics.py; see docs/touch.md"
)
FITTED = Path(__file__).parent / "fitted"
"""Optics that come with palpate."""

_SOFT_GEL = "no measurement found; soft silicone of Shore 00 about 45 has about 0.1 to 0.3 MPa"
_RUBBER = "rubber hardly changes its volume; 0.5 itself is avoided"
_GRIP = "tacky silicone on hard plastic lies between 0.5 and 1.5; a low, cautious value"
_GUARD = "a guard against wrong units; far above a careful grasp"
_LIKE_MINI = "the figures of a GelSight Mini (tactile-mnist 0.13, sensor_noise); none were found for this sensor"
_LAMPS = "three lamps of Lambert's law, no fit to real presses; fit a unit's own with palpate.sensors.touch.calibrate"
_OWN_PAD = "taken equal to the field of view: what lies beyond it is not modelled"

_GEL = {"pad.young": _SOFT_GEL, "pad.poisson": _RUBBER, "pad.friction": _GRIP, "max_force": _GUARD}


def lit(model: SensorModel, elevation_deg: float = 20.0) -> SensorModel:
    """Return the model with three lamps of Lambert's law, as bright and placed as its rest images say: an estimate of its optics."""
    look, shape = model.look, model.picture_shape
    if look is None or shape is None:
        return model
    height = np.full(3, elevation_deg)
    lamps = Lamps(
        azimuth_deg=np.array(look.azimuth_deg),
        elevation_deg=height,
        colour=np.diag(look.base) / np.sin(np.deg2rad(elevation_deg)),
        falloff=np.full(3, np.mean(look.fall)),
        vignette=look.vignette,
    )
    optics = Optics(shape=shape, pitch=model.pixel, stages=(lambert(lamps),), estimate=True)
    return replace(model, optics=optics, estimates={**model.estimates, "optics": _LAMPS})


def _fitted(model: SensorModel) -> SensorModel:
    """Return the model with the optics that `benchmarks/fit_touch_optics.py` fitted on real ball presses."""
    optics = load_optics(FITTED / f"{model.name}.npz").resized(model.picture_shape or (0, 0))
    return replace(model, optics=optics, sources={**model.sources, "optics": _PRESSES})


def _pad(height: float, width: float, thickness: float, young: float, friction: float = 0.8) -> Pad:
    return Pad(height=height, width=width, thickness=thickness, young=young, poisson=0.48, friction=friction)


DIGIT = lit(
    SensorModel(
        name="digit",
        read_outs=("image",),
        pad=_pad(0.019, 0.016, 0.002, 0.2e6),
        field_of_view=(0.019, 0.016),
        picture_shape=(320, 240),
        rate_hz=60.0,
        max_force=60.0,
        look=RestLook(
            base=(96.0, 101.0, 96.0), azimuth_deg=(190.0, -5.0, 115.0), fall=(0.3, 0.7), spot=0.9, vignette=0.35, turn_deg=25.0
        ),
        sources={"field_of_view": _GENTLE, "picture_shape": _GENTLE, "rate_hz": _GENTLE},
        estimates={
            **_GEL,
            "pad.size": _OWN_PAD,
            "pad.thickness": "no measurement found; about that of other gels on a rigid base. The real gel is a little domed",
            "noise": _LIKE_MINI,
            "look": "about the colours and unevenness of three published rest images (two of AUROVA, one of TVL)",
        },
    )
)

GELSIGHT_2017 = _fitted(
    SensorModel(
        name="gelsight-2017",
        read_outs=("image", "markers"),
        pad=_pad(0.01416, 0.01888, 0.006, 0.15e6),
        field_of_view=(0.01416, 0.01888),
        picture_shape=(480, 640),
        rate_hz=30.0,
        max_force=60.0,
        look=RestLook(base=(130.0, 134.0, 140.0), azimuth_deg=(0.0, 120.0, -120.0), fall=(0.05, 0.3), vignette=0.3),
        markers=MarkerGrid(rows=9, cols=12, pitch=(0.0015, 0.0015), radius=0.0003),
        sources={"field_of_view": _TAXIM, "picture_shape": _TAXIM},
        estimates={
            **_GEL,
            "pad.size": _OWN_PAD,
            "pad.thickness": (
                "no measurement found; that of a flat layer whose imprints fit taxim's 48 presses best. The real gel is a dome, 1.40 mm "
                "lower at the edge (taxim's gelmap)"
            ),
            "rate_hz": "of ordinary webcams; recordings of a GelSight Wedge are stored at 30 Hz",
            "noise": _LIKE_MINI,
            "look": "mean colours of taxim's one rest image (130, 134, 140); how units differ is a guess",
            "markers": "a grid of black dots at about 1.5 mm is common; grids differ from gel to gel (More Than a Feeling, Section V)",
        },
    )
)

GELSIGHT_MINI = _fitted(
    SensorModel(
        name="gelsight-mini",
        read_outs=("image",),
        pad=_pad(0.01416, 0.01888, 0.0045, 0.2e6),
        field_of_view=(0.01416, 0.01888),
        picture_shape=(240, 320),
        rate_hz=25.0,
        max_force=60.0,
        look=RestLook(base=(83.0, 99.0, 113.0), azimuth_deg=(-90.0, 30.0, 150.0), fall=(0.1, 0.35), vignette=0.6),
        noise=NoiseFigures(),
        sources={
            "field_of_view": _TAXIM_MINI,
            "picture_shape": "PhysiCLeAR (Octopi), clips of 320 x 240 pixels",
            "rate_hz": "PhysiCLeAR (Octopi): 260 of 333 clips at 25 frames a second",
            "pad.thickness": f"{_TACEX_MINI}: gel pad 4.5 mm high",
            "noise": _MINI_NOISE,
        },
        estimates={
            **_GEL,
            "pad.size": f"{_OWN_PAD}; the real pad has 20.75 x 25.25 mm ({_TACEX_MINI})",
            "look": "mean colours of taxim's one rest image (83, 99, 113); how units differ is a guess",
        },
    )
)

GELSIGHT_MINI_MARKERS = SensorModel(
    name="gelsight-mini-markers",
    read_outs=("image", "markers"),
    pad=GELSIGHT_MINI.pad,
    field_of_view=GELSIGHT_MINI.field_of_view,
    picture_shape=GELSIGHT_MINI.picture_shape,
    rate_hz=GELSIGHT_MINI.rate_hz,
    max_force=GELSIGHT_MINI.max_force,
    look=GELSIGHT_MINI.look,
    optics=GELSIGHT_MINI.optics,
    markers=MarkerGrid(rows=9, cols=11, pitch=(0.001534, 0.001711), radius=0.00035),
    sources={
        **GELSIGHT_MINI.sources,
        "markers": f"{_TACEX_MINI}: 11 x 9 markers, 29 and 26 of 320 x 240 pixels apart; radius estimated",
    },
    estimates=GELSIGHT_MINI.estimates,
)

GELSLIM = lit(
    SensorModel(
        name="gelslim",
        read_outs=("image",),
        pad=_pad(0.018, 0.024, 0.0025, 0.4e6),
        field_of_view=(0.018, 0.024),
        picture_shape=(240, 320),
        rate_hz=60.0,
        max_force=100.0,
        look=RestLook(base=(125.0, 125.0, 125.0), azimuth_deg=(0.0, 180.0, 0.0), fall=(0.05, 0.2), vignette=0.15, grain=0.03),
        estimates={
            **_GEL,
            "pad.size": _OWN_PAD,
            "pad.thickness": "no figure found",
            "pad.young": "no figure found; stiffer than a bare gel, since a textured fabric covers it (GelSlim, 2018, abstract)",
            "field_of_view": "no figure found; the size of a gripper's finger pad",
            "picture_shape": "no figure found; the shape most public sets are stored in",
            "rate_hz": "no figure found; of a small camera module",
            "noise": _LIKE_MINI,
            "look": "light guides from two sides; the fabric's texture shows as grain",
        },
    )
)

DURAGEL = lit(
    SensorModel(
        name="duragel",
        read_outs=("image",),
        pad=_pad(0.018, 0.024, 0.003, 0.3e6),
        field_of_view=(0.018, 0.024),
        picture_shape=(240, 320),
        rate_hz=30.0,
        max_force=100.0,
        look=RestLook(base=(120.0, 120.0, 120.0)),
        estimates={
            **_GEL,
            "pad.size": _OWN_PAD,
            "pad.thickness": "no figure of this self-made sensor was found",
            "field_of_view": "no figure of this self-made sensor was found",
            "picture_shape": "no figure of this self-made sensor was found",
            "rate_hz": "no figure of this self-made sensor was found",
            "noise": _LIKE_MINI,
            "look": "no figure of this self-made sensor was found",
        },
    )
)

NINE_D_TACT = SensorModel(
    name="9dtact",
    read_outs=("image",),
    pad=_pad(0.017595, 0.02346, 0.005, 0.2e6),
    field_of_view=(0.017595, 0.02346),
    picture_shape=(345, 460),
    rate_hz=30.0,
    max_force=60.0,
    look=RestLook(
        base=(160.0, 160.0, 160.0),
        fall=(0.0, 0.05),
        spot=0.02,
        vignette=0.15,
        light_spread=0.02,
        tint=0.005,
        blotch=0.01,
        grain=0.004,
    ),
    optics=Optics(
        shape=(345, 460),
        pitch=(0.017595 / 345, 0.02346 / 460),
        stages=(Darkness(depth=np.array([0.0, 1.86e-3]), change=np.array([[0.0] * 3, [-59.0] * 3])),),
        estimate=True,
    ),
    sources={
        "field_of_view": f"{_9DTACT}: crop of 345 x 460 pixels; published calibration of unit 1: 0.0510 mm a pixel (unit 2: 0.0500)",
        "picture_shape": f"{_9DTACT}: crop_size",
        "rate_hz": f"{_9DTACT}: fps 30",
        "look": "published rest images of two units: nearly grey, mean levels 160.8 and 160.4",
    },
    estimates={
        **_GEL,
        "pad.size": _OWN_PAD,
        "pad.thickness": "no figure found; the published calibration reaches depths of 1.92 mm",
        "noise": _LIKE_MINI,
        "optics": "59 levels at 1.86 mm from the one published ball press of unit 1; linear between, which is a guess",
    },
)

TAC3D = SensorModel(
    name="tac3d",
    read_outs=("field", "region"),
    pad=_pad(0.020, 0.020, 0.004, 0.3e6),
    field_of_view=(0.020, 0.020),
    field_shape=(20, 20),
    rate_hz=30.0,
    max_force=50.0,
    noise=NoiseFigures(displacement=5e-6, force=1e-3),
    sources={"field_shape": _TAC3D},
    estimates={
        **_GEL,
        "pad.size": _OWN_PAD,
        "pad.thickness": "no figure found",
        "field_of_view": "no figure found; 20 x 20 points about 1 mm apart",
        "rate_hz": "a user's notes say about 30 Hz, up to 50 Hz; the maker's figure was not found",
        "noise": "no figure found; half of the 0.01 mm that a user's notes give as accuracy, and their 0.001 N",
    },
)

BIOTAC = SensorModel(
    name="biotac-sp",
    read_outs=("taxels", "region"),
    pad=Pad(
        height=BIOTAC_SP.distal + BIOTAC_SP.proximal,
        width=2 * BIOTAC_SP.half_width,
        thickness=BIOTAC_SP.skin,
        young=BIOTAC_SP.young,
        poisson=BIOTAC_SP.poisson,
        friction=BIOTAC_SP.friction,
    ),
    field_of_view=(BIOTAC_SP.distal + BIOTAC_SP.proximal, 2 * BIOTAC_SP.half_width),
    taxel_count=24,
    rate_hz=100.0,
    max_force=50.0,
    sources={"taxel_count": _BTS3},
    estimates={
        **dict.fromkeys(
            ("pad.size", "pad.thickness", "pad.young", "pad.poisson", "pad.friction", "field_of_view"),
            "no figure found; as tip_mesh.BIOTAC_SP, a curved tip whose skin and fluid are one soft solid",
        ),
        "max_force": _GUARD,
        "rate_hz": "no figure read at its source; 100 Hz is what users name for the electrodes",
        "noise": "none added: recorded counts have no unit to compare with",
    },
)

TEMPLATE = lit(
    SensorModel(
        name="template",
        read_outs=("image", "markers", "region"),
        pad=_pad(0.015, 0.020, 0.003, 0.2e6),
        field_of_view=(0.015, 0.020),
        picture_shape=(240, 320),
        rate_hz=30.0,
        max_force=60.0,
        look=RestLook(base=(115.0, 115.0, 115.0)),
        markers=MarkerGrid(rows=7, cols=9, pitch=(0.002, 0.002), radius=0.0004),
        estimates=dict.fromkeys(
            (
                *_GEL,
                *("pad.size", "pad.thickness", "field_of_view", "picture_shape", "rate_hz"),
                *("noise", "look", "markers"),
            ),
            "an invented sensor to start an own description from: replace every figure and name its source",
        ),
    )
)

SENSORS: Mapping[str, SensorModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            DIGIT,
            GELSIGHT_2017,
            GELSIGHT_MINI,
            GELSIGHT_MINI_MARKERS,
            GELSLIM,
            DURAGEL,
            NINE_D_TACT,
            TAC3D,
            BIOTAC,
            TEMPLATE,
        )
    }
)
"""Every known sensor by name."""


def get_sensor(name: str) -> SensorModel:
    """Return the constants of a known sensor.

    Raises:
        UnknownNameError: no such sensor; the message lists the known ones.
    """
    if name not in SENSORS:
        raise UnknownNameError("touch sensor", name, SENSORS)
    return SENSORS[name]
