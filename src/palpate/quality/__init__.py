"""How good a grasp is, judged from its contacts alone: friction use at the best force balance, and Ferrari-Canny epsilon."""
