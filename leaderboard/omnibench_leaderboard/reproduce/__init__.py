"""`omnibench reproduce`: a published study run again, and a verdict for every printed number."""
