"""Whole shoots: which set becomes which files, done once, recorded, and taken up again where they were left."""
