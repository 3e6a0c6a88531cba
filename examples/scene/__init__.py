"""The example scene: a room with a window, made from numbers alone."""
