"""The built-in commands, one file each; importing them never imports torch."""
