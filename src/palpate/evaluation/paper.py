"""Numbers of the first paper that its text and tables state (its bar charts give no others).

K. Nakahara and R. Calandra, "Learning Gentle Grasping Using Vision, Sound, and Touch", arXiv 2503.07926.
"""

import numpy as np

NAME = "Nakahara and Calandra, arXiv 2503.07926"
TABLE_I = np.array([[364, 385], [609, 142]])
"""Trials by label: rows stable 1, 0; columns gentle 1, 0."""
TABLE_II = np.array([[388, 25, 25, 3], [42, 405, 4, 4], [37, 7, 675, 13], [5, 10, 26, 131]])
"""Rows actual, columns predicted, (1,1), (1,0), (0,1), (0,0): 1,800 validation samples of the best of five folds."""
BOTH = {"vision+touch+action": 0.8824, "vision+action": 0.8824 - 0.0327}
"""Accuracy on both labels, section VI-A; vision + action from the stated difference of 3.27 points (abstract)."""
TOUCH_GAIN = 0.0327
BEST_FOLD = 0.8883
"""Accuracy of the iteration behind Table II."""
LOOP_GAIN = {("vision+touch+action", "vision+action"): 0.17, ("vision+touch+action", "random"): 0.44}
"""Stable-and-gentle rate of the first policy less that of the second, section VII; 100 real trials a policy."""
LOOP_TRIALS = 100
