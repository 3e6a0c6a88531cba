"""Synthetic bursts with known truth and motion."""
