"""Translation between the toy English and a generated language that looks like Romanian."""
