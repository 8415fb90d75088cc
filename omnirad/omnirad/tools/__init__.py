"""Programs beside the package: memory and arithmetic of a step, forensics of released weights."""
