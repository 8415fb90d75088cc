"""What `omnibench diff` says: how two records, or the records of two folders, differ."""
