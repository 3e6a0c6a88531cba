"""Benchmark datasets, synthetic bursts and augmentation."""
