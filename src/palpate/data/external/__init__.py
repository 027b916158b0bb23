"""Importers of data sets that others recorded."""
