"""The command line. `main.py` registers the commands; the other files hold the commands and format their output."""
