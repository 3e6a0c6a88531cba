"""Exposure brackets of a shoot: which frames belong together, how confidently, and why."""
