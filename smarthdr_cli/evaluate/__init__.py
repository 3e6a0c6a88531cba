"""Metrics, classical baselines and reports."""
