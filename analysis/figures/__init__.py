"""Figures for pages and reports, by matplotlib: arrays and tables in, Figures out; nothing is computed here."""

from analysis.figures.style import save

__all__ = ["save"]
