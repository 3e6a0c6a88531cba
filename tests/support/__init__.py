"""Builders that tests share: pictures, bursts, shoots, training scenes."""
