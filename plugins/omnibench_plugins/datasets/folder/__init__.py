"""Folders of the user's own images as datasets: `folder:PATH`."""
