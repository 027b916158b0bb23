"""The words everybody speaks: records, protocols, transforms, rollout, randomness, errors. NumPy only."""
