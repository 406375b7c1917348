"""From published archives to the encoded text that a model is trained on."""
