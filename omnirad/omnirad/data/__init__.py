"""Images for pretraining: sources, packed shards, crops, augmentation, sampling, batches."""
