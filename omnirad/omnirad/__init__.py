"""The OmniRad encoder and its pretraining recipe, usable without the benchmark."""
