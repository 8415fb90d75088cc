"""The task `caption`: a text an image, from a language model on a frozen encoder."""
