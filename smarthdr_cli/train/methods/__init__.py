"""Training methods: which target and weight each pixel of an unlabelled burst gets."""
