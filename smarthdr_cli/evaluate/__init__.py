"""Metrics, classical baselines and reports for bursts with a ground truth."""
