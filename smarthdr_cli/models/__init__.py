"""Networks, the uncertainty head, the physical merge, checkpoints and where weights come from."""
