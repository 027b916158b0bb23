"""Unit conversions, used where a number crosses a border (file, command line, figure). Inside, everything is SI."""

import math

MM = 1e-3
"""One millimetre [m]."""

DEG = math.pi / 180.0
"""One degree [rad]."""
