"""From a burst and a network to radiance and uncertainty: the pipeline, motion, tiles, the static merge."""
