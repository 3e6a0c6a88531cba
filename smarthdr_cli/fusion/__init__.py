"""The order of the pipeline, tiles, the physical merge and the guard: burst and model meet here."""
