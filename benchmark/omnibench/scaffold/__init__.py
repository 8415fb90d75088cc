"""`omnibench plugin new`: a package with one encoder that passes the conformance kit."""
