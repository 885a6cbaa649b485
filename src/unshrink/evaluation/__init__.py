"""Figures, tables, the page of results."""
