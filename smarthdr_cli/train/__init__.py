"""Training: configuration, losses, EMA, the step and the loop."""
