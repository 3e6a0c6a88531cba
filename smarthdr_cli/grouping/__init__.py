"""Grouping of a shoot into brackets: which pictures belong to one burst, and how sure that is."""
