"""Records in, statements out: statistics, tables and pages. Never imports torch."""
