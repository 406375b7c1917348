"""Programs that time the loss, the training step and the preparation of a corpus."""
