"""`import`: results that others measured, one file per source; a file that registers in SOURCES is another one."""
