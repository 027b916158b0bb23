"""Numbers of the second paper.

R. Calandra et al., "More Than a Feeling: Learning to Grasp and Regrasp using Vision and Touch", RA-L 2018.
"""

NAME = "Calandra et al., RA-L 2018"
TABLE_I = {
    "chance": 0.6280,
    "vision+action": 0.7303,
    "touch+action": 0.7934,
    "vision+touch+action": 0.8028,
    "vision+touch": 0.7643,
}
"""Accuracy of 3-fold cross-validation by object, 18,070 examples."""
TABLE_II = {
    "easy": {"vision+action": 0.632, "vision+touch+action": 0.940, "cylinder": 0.759},
    "hard": {"vision+action+": 0.50, "vision+touch+action+": 0.736, "cylinder": 0.668},
}
"""Average success; on the hard set after training on on-policy data too (+)."""
EXAMPLES, TRIALS, OBJECTS = 18_070, 6_450, 65
