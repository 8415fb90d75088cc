"""The paper's cast as plugins: encoders, tasks, datasets and published numbers."""
