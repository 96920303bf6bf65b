"""`run --log`: adapters for experiment trackers, one file each; a file that registers in LOGGERS is another one."""
