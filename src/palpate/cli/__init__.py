"""The command line: typed configuration over the recipes, no logic."""
